"""A notification socket like systemd's."""

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DEADLINE = 45.0


class NotifySocket:
    """Collects the notifications of a service; `address` is what systemd would put into `NOTIFY_SOCKET`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(_DEADLINE)

    def wait_for(self, start: str) -> str:
        """Wait for a message that begins so, and return it; earlier messages are skipped, and kept in `received`."""
        while True:
            message = self._socket.recv(4096).decode()
            self.received.append(message)
            if message.startswith(start):
                return message

    def wait_for_silence(self, seconds: float) -> None:
        """Wait until no message has come for so long."""
        give_up = time.monotonic() + _DEADLINE
        self._socket.settimeout(seconds)
        try:
            while True:
                self.received.append(self._socket.recv(4096).decode())
                assert time.monotonic() < give_up, self.received[-5:]
        except TimeoutError:
            return
        finally:
            self._socket.settimeout(_DEADLINE)

    def all_so_far(self) -> list[str]:
        """Return all messages so far."""
        self._socket.settimeout(0)
        try:
            while True:
                self.received.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self.received
        finally:
            self._socket.settimeout(_DEADLINE)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def notify_socket(folder: Path | None = None) -> Iterator[NotifySocket]:
    """Listen at a path in the folder, or without one at an abstract name."""
    listening = NotifySocket(f"@beeagent-test-{uuid.uuid4().hex}" if folder is None else str(folder / "notify"))
    try:
        yield listening
    finally:
        listening.close()
