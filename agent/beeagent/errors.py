"""The errors a user can cause, each told in one line."""


class BeeagentError(Exception):
    """Something went wrong that is worth one clear line and no traceback; the command line exits with 1.

    Args:
        message: what went wrong. What cannot be printed in one line (such as a line break in a file's name that
            the message quotes) is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class InputError(BeeagentError):
    """What the user gave cannot be used: an option, a file, a model, an address.

    The message is one line that names the thing, the value and what to do; the command line exits with 2.
    """
