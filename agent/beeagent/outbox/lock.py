"""The lock that keeps an outbox for one agent."""

import errno
import fcntl
import os
from pathlib import Path

from beeagent.errors import InputError
from beeagent.outbox.opening import IN_USE


class OutboxLock:
    """An flock on a file beside the outbox, `<name>.lock`, held until `close` or the end of the process.

    SQLite's own lock on the outbox is a POSIX lock, which the process drops unawares as soon as it closes any other
    descriptor of that file. An flock belongs to its own descriptor alone, also within one process. The lock file stays
    when the lock is released: another process may be waiting on it.
    """

    def __init__(self, outbox: Path) -> None:
        """Take the lock; the folder is made if need be.

        Raises:
            InputError: another agent has it, or the place cannot be used.
        """
        self._descriptor = -1
        try:
            outbox.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(outbox.with_name(f"{outbox.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # a full disk is no reason to refuse an outbox that is there; SQLite's lock remains
            raise InputError(
                f"outbox {outbox} cannot be opened: {error.strerror}; check the folder and its rights"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InputError(IN_USE.format(path=outbox)) from None
        except OSError as error:
            self.close()
            raise InputError(
                f"outbox {outbox} cannot be locked: {error.strerror}; give --state-dir a local folder"
            ) from error

    def close(self) -> None:
        """Release the lock. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
