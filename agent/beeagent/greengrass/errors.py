"""What a nucleus' errors mean; it mostly sends their names alone."""

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from beeagent.errors import BeeagentError

UNAUTHORIZED: Final = "UnauthorizedError"
NOT_FOUND: Final = "ResourceNotFoundError"
SERVICE_ERROR: Final = "ServiceError"

_WORDS: Final = {
    UNAUTHORIZED: "the nucleus does not permit it: accessControl in the component's configuration does not name it",
    NOT_FOUND: "the nucleus knows no such thing",
    SERVICE_ERROR: "the nucleus could not do it, or does not know how",
    "InvalidArgumentsError": "the nucleus does not take it like this",
    "ConnectionClosedError": "there is no connection to the nucleus",
    "StreamClosedError": "the connection to the nucleus ended",
    "AccessDeniedError": "the nucleus does not let this process in",
}


class NucleusError(BeeagentError):
    """The nucleus did not do what it was asked for.

    Attributes:
        name: of the error that it gave, such as `UnauthorizedError`; of what went wrong on the way there otherwise.
    """

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


def nucleus_error(error: BaseException) -> NucleusError:
    """Put into words what a call to the nucleus ended with."""
    if isinstance(error, NucleusError):
        return error
    name = type(error).__name__
    if isinstance(error, FutureTimeoutError):
        return NucleusError("the nucleus does not answer", name=name)
    # Its errors have no message on a nucleus lite; what `str` gives is then their name, or nothing.
    told = getattr(error, "message", None) or ("" if name in _WORDS else str(error))
    words = _WORDS.get(name, f"the nucleus failed ({name})")
    return NucleusError(f"{words} ({told})" if told else words, name=name)
