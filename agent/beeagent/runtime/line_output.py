"""Lines on standard output that do not hold up the end of the process."""

import os
import select
import sys
import threading
from typing import Final

from beeagent.standard_output import unwritable

_CHUNK: Final = select.PIPE_BUF  # bytes that a pipe which is ready takes without blocking
_LOOK_EVERY_S: Final = 0.1


class LineOutput:
    """Writes lines to standard output.

    Whoever reads may be slow, and is waited for; but when the agent is told to stop, a reader that does not read
    is waited for no longer, and its last line may be cut.

    Args:
        stopping: set when the agent is to stop.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def write(self, line: bytes) -> bool:
        """Write a line, given without line break; False if nobody reads any more, as after `| head`.

        Raises:
            BeeagentError: it cannot be written, for want of space for instance.
        """
        if sys.stdout is None:  # closed before the start
            return False
        rest = memoryview(line + b"\n")
        try:
            output = sys.stdout.fileno()
            while rest:
                if select.select([], [output], [], _LOOK_EVERY_S)[1]:
                    rest = rest[os.write(output, rest[:_CHUNK]) :]
                elif self._stopping.is_set():
                    break
        except BrokenPipeError:
            return False
        except OSError as error:
            raise unwritable(error) from error
        return True
