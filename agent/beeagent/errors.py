"""Errors that are reported to the user in one line, such as a missing extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_OWN_PACKAGES = frozenset({"beeagent", "beeagent_models", "beeagent_export", "beeagent_cloud"})


class BeeagentError(Exception):
    """An error that is reported in one line, without a traceback; the command line exits with 1.

    Args:
        message: description of the error. Unprintable characters, such as a line break in a file name, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class InputError(BeeagentError):
    """Invalid input from the user: an option, a file, a model, an address.

    The message states the subject, its value and the remedy; the command line exits with 2.
    """


@contextmanager
def requires_extra(extra: str, *, feature: str = "this command") -> Iterator[None]:
    """Run a block that imports packages of an extra.

    Args:
        extra: name of the extra that provides the packages, or several separated by commas.
        feature: name of the feature that needs them, for the error.

    Raises:
        InputError: a package is missing; the message names the extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN_PACKAGES:
            raise
        raise InputError(f"{feature} needs {package}, which is not installed: {install_hint(extra)}") from error


def install_hint(extra: str) -> str:
    """Return the command that installs extras, separated by commas, for errors. beeagent is not on PyPI."""
    return f"pip install '.[{extra}]' in the folder of beeagent's sources"


def validation_problems(error: "ValidationError", *, within: str = "") -> list[str]:
    """Return the problems in external data, as texts of the form `path.of.the.value: problem`.

    Args:
        error: error raised by pydantic.
        within: path of the data in its document; empty for the whole document.
    """
    problems = []
    for details in error.errors():
        path = ".".join(str(part) for part in (within, *details["loc"]) if part != "")
        problems.append(f"{path}: {details['msg']}" if path else details["msg"])
    return problems
