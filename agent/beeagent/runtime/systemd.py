"""Notification of systemd for a service of `Type=notify`: ready, status, alive (watchdog), stopping.

The protocol is a datagram of `KEY=value` lines to the socket in `NOTIFY_SOCKET`:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_MAX_STATUS: Final = 200  # characters; `systemctl status` shows them in one line


class ServiceNotifier:
    """Notifies systemd of the state of the service; does nothing without systemd.

    Sending never blocks or raises: a message that cannot be sent is dropped, since this must not end a working agent.

    Args:
        address: path of the socket, or `@` and the name of an abstract socket; None to send nothing.
        watchdog_s: seconds after which the watchdog restarts the service unless `alive` is called; None without one.

    Raises:
        ValueError: `watchdog_s` is not positive.
    """

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        if watchdog_s is not None and not watchdog_s > 0:
            raise ValueError(f"watchdog_s must be above 0, not {watchdog_s}")
        self._address = None if address is None else _socket_address(address)
        self._watchdog_s = watchdog_s
        self._sent: set[str] = set()
        self._status = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "ServiceNotifier":
        """Create a notifier from `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, which systemd sets.

        Args:
            environment: environment variables; None for those of the process. Invalid values are ignored.
        """
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        watchdog_s = None
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                watchdog_s = int(environment.get("WATCHDOG_USEC", "")) / 1e6
        return cls(
            address if address.startswith(("/", "@")) else None,
            watchdog_s=watchdog_s if watchdog_s is not None and watchdog_s > 0 else None,
        )

    @property
    def watchdog_s(self) -> float | None:
        """Seconds after which the watchdog restarts the service unless `alive` is called; None without a watchdog."""
        return self._watchdog_s

    def ready(self) -> None:
        """Notify that the service is ready; sent once."""
        self._send_once("READY=1")

    def stopping(self) -> None:
        """Notify that the service is stopping; sent once."""
        self._send_once("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the status line of `systemctl status`; sent when it changes."""
        # A line break would begin another assignment.
        line = "".join(character if character.isprintable() else " " for character in text)[:_MAX_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def alive(self) -> None:
        """Reset the watchdog; to be called at least twice in `watchdog_s`."""
        if self._watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send_once(self, message: str) -> None:
        if message not in self._sent and self._send(message):
            self._sent.add(message)

    def _send(self, message: str) -> bool:
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                sender.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def _socket_address(text: str) -> str | bytes:
    return b"\0" + os.fsencode(text[1:]) if text.startswith("@") else text
