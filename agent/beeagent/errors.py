"""The errors a user can cause, each told in one line."""


class BeeagentError(Exception):
    """Something went wrong that is worth one clear line and no traceback; the command line exits with 1."""


class InputError(BeeagentError):
    """What the user gave cannot be used: an option, a file, a model, an address.

    The message is one line that names the thing, the value and what to do; the command line exits with 2.
    """
