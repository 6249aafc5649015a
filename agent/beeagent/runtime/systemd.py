"""What systemd is told of a service of `Type=notify`: that it is ready, how it is, that it lives, that it stops.

The protocol is a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_MAX_STATUS: Final = 200  # characters; `systemctl status` shows them in one line


class ServiceNotifier:
    """Tells systemd how the service is; does nothing where nobody listens.

    A message that cannot be sent is left out: it never blocks and raises nothing, since an agent that works must
    not end for want of a listener. The watchdog's next sign, or its absence, says enough.

    Args:
        address: of the socket: a path, or `@` and the name of an abstract socket; None tells nobody.
        watchdog_s: seconds after which the watchdog bites unless `alive` was called; None without a watchdog.

    Raises:
        ValueError: the watchdog's time is not positive.
    """

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        if watchdog_s is not None and not watchdog_s > 0:
            raise ValueError(f"watchdog_s must be above 0, not {watchdog_s}")
        self._address = None if address is None else _socket_address(address)
        self._watchdog_s = watchdog_s
        self._told: set[str] = set()
        self._status = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "ServiceNotifier":
        """Set it up as systemd asks: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and, if the watchdog is not ours, `WATCHDOG_PID`.

        Args:
            environment: where these are; None for the process's own. What is not understood counts as not given.
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
        """Seconds after which the watchdog bites unless `alive` was called; None without a watchdog."""
        return self._watchdog_s

    def ready(self) -> None:
        """Tell that the start is over; only the first call does."""
        self._tell_once("READY=1")

    def stopping(self) -> None:
        """Tell that the end has begun; only the first call does."""
        self._tell_once("STOPPING=1")

    def status(self, text: str) -> None:
        """Tell in a line how the service is, for `systemctl status`; only what is news is sent."""
        # A line break in it would begin another assignment.
        line = "".join(character if character.isprintable() else " " for character in text)[:_MAX_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def alive(self) -> None:
        """Keep the watchdog quiet for another `watchdog_s`. To be called at least twice in that time."""
        if self._watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _tell_once(self, message: str) -> None:
        if message not in self._told and self._send(message):
            self._told.add(message)

    def _send(self, message: str) -> bool:
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
                speaker.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                speaker.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def _socket_address(text: str) -> str | bytes:
    return b"\0" + os.fsencode(text[1:]) if text.startswith("@") else text
