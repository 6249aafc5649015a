"""Errors that a user can cause, each reported in one line; among them a missing extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_OWN_PACKAGES = frozenset({"beeagent", "beeagent_models", "beeagent_export", "beeagent_cloud"})


class BeeagentError(Exception):
    """An error that is reported in one line, without a traceback; the command line exits with 1.

    Args:
        message: what went wrong. Characters that cannot be printed in one line, such as a line break in a quoted
            file name, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class InputError(BeeagentError):
    """Invalid input from the user: an option, a file, a model, an address.

    The message names the thing, its value and the remedy; the command line exits with 2.
    """


@contextmanager
def requires_extra(extra: str, *, feature: str = "this command") -> Iterator[None]:
    """Run a block that imports packages of an extra.

    Args:
        extra: name of the extra that provides them, or several with commas between them.
        feature: what needs them, for the error.

    Raises:
        InputError: a package is missing; names the extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN_PACKAGES:
            raise
        raise InputError(f"{feature} needs {package}, which is not installed: {install_hint(extra)}") from error


def install_hint(extra: str) -> str:
    """Return how to install an extra, or several with commas between them, for an error. beeagent is in no index."""
    return f"pip install '.[{extra}]' in the folder of beeagent's sources"


def validation_problems(error: "ValidationError", *, within: str = "") -> list[str]:
    """Return what is wrong with data from outside, one text each: `place.of.the.value: what is wrong`.

    Args:
        error: of pydantic.
        within: place of the data in its document; empty for the whole.
    """
    problems = []
    for each in error.errors():
        place = ".".join(str(part) for part in (within, *each["loc"]) if part != "")
        problems.append(f"{place}: {each['msg']}" if place else each["msg"])
    return problems
