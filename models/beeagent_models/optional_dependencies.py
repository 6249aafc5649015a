"""Says which extra to install when a command lacks a package."""

import contextlib
from collections.abc import Iterator

from beeagent.errors import InputError


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Run the block that imports what a command needs.

    Args:
        name: the extra of the package that brings it.

    Raises:
        InputError: a package is missing; says which extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"beeagent", "beeagent_models"}:
            raise
        raise InputError(f"this command needs the package {package}: pip install 'beeagent[{name}]'") from None
