"""Names the extra to install when a command lacks a package."""

import contextlib
from collections.abc import Iterator

from beeagent.errors import InputError

_OWN = frozenset({"beeagent", "beeagent_models", "beeagent_export", "beeagent_cloud"})


@contextlib.contextmanager
def requires_extra(name: str) -> Iterator[None]:
    """Run the block with the imports of a command.

    Args:
        name: extra of the package that provides them, or several with commas between them.

    Raises:
        InputError: a package is missing; names the extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN:
            raise
        raise InputError(f"this command needs the package {package}: pip install 'beeagent[{name}]'") from None
