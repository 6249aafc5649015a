"""Errors that a user can cause, each reported in one line."""


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
