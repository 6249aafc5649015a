"""A clock that nobody can set."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class BootClock:
    """Seconds since the device was switched on, the same in every process; time in suspend counts.

    Attributes:
        boot: tells one run of the device from the next.
        seconds: gives the seconds since it began.
    """

    boot: str
    seconds: Callable[[], float]


def boot_clock() -> BootClock:
    """Give the clock of this device: Linux's CLOCK_BOOTTIME.

    The time of day does not do: a Pi has no clock that runs on without power, so that its time of day jumps by
    hours or years once the network tells it.
    """
    if sys.platform == "linux":
        return BootClock(_BOOT_ID.read_text(encoding="ascii").strip(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    return BootClock("", time.monotonic)  # for those who develop elsewhere; a device runs Linux
