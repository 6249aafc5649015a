"""Standard output whose disk may be full."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from beeagent.errors import BeeagentError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def unwritable(error: OSError) -> BeeagentError:
    """Return the error of a command whose standard output cannot be written to."""
    return BeeagentError(f"standard output cannot be written to: {error.strerror or error}")


class _Descriptor(io.FileIO):
    def write(self, data: "ReadableBuffer") -> int:
        """Write, and after a failure let the rest go nowhere: Python writes at its end what is still buffered."""
        try:
            return super().write(data)
        except OSError as error:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no path of a user's
                os.dup2(nowhere.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):  # nobody reads any more, as after `| head`
                raise
            raise unwritable(error) from error


@contextmanager
def checked_output() -> Iterator[None]:
    """While entered, let `sys.stdout` raise a BeeagentError where it cannot be written to, and flush it at the end.

    What stands in for standard output, as in a test, is left as it is.
    """
    output = sys.stdout
    if output is None or output is not sys.__stdout__ or not isinstance(output, io.TextIOWrapper):
        yield
        return
    output.flush()
    checked = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(output.fileno(), "wb", closefd=False)),
        encoding=output.encoding,
        errors=output.errors,
        line_buffering=output.line_buffering,
        write_through=output.write_through,
    )
    sys.stdout = checked
    try:
        yield
    finally:
        sys.stdout = output
        try:
            checked.flush()
        except BrokenPipeError:
            checked.flush()  # into nowhere
