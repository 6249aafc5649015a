import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from beeagent.outbox import BootClock, Outbox, boot_clock

DEADLINE = 45.0
HOUR = 3600.0


@dataclass
class Device:
    """A device with settable clocks."""

    boot: str = "first"
    seconds: float = 100.0

    def reboot(self) -> None:
        self.boot, self.seconds = f"after {self.boot}", 0.0

    def outbox(self, path: Path | None) -> Outbox:
        return Outbox(path, max_age_hours=2, clock=BootClock(self.boot, lambda: self.seconds))


def put(outbox: Outbox) -> None:
    outbox.put(stream="s", topic="t", payload=b"%d" % outbox.next_number("s"))
    assert outbox.flush(timeout=DEADLINE)


def waiting(outbox: Outbox) -> list[int]:
    return [int(row.payload) for row in outbox.waiting()]


def test_expired_results_are_dropped_and_counted() -> None:
    device = Device()
    outbox = device.outbox(None)
    for _ in range(3):
        put(outbox)
        device.seconds += HOUR
    device.seconds += 1  # the first is over two hours old now: three hours and a second
    put(outbox)
    assert waiting(outbox) == [3, 4]
    assert outbox.counts().dropped == {"expired": 2}
    assert outbox.counts().waiting == 2
    outbox.close()


def test_rows_expire_without_a_new_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beeagent.outbox.outbox._EXPIRE_EVERY_S", 0.01)
    device = Device()
    outbox = device.outbox(None)
    put(outbox)
    device.seconds += 3 * HOUR
    assert outbox.wait_for(lambda: outbox.counts().waiting == 0, timeout=DEADLINE)
    assert outbox.counts().dropped == {"expired": 1}
    outbox.close()


def test_acknowledgement_of_expired_row_does_not_count() -> None:
    device = Device()
    outbox = device.outbox(None)
    put(outbox)
    (row,) = outbox.waiting()
    device.seconds += 3 * HOUR
    put(outbox)
    outbox.delivered([row.id])
    assert outbox.flush(timeout=DEADLINE)
    assert outbox.counts().delivered == 0
    assert outbox.counts().waiting == 1
    outbox.close()


def test_age_includes_time_while_the_agent_is_stopped(tmp_path: Path) -> None:
    device = Device()
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    outbox.close()
    device.seconds += 3 * HOUR
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    assert waiting(outbox) == [2]
    outbox.close()


def test_age_excludes_time_without_power(tmp_path: Path) -> None:
    device = Device(seconds=500 * HOUR)
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    device.seconds += HOUR
    put(outbox)
    outbox.close()
    device.reboot()
    device.seconds = 0.9 * HOUR
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    assert waiting(outbox) == [1, 2, 3]
    device.seconds = 1.1 * HOUR
    put(outbox)
    assert waiting(outbox) == [2, 3, 4]
    outbox.close()


def test_a_damaged_file_makes_nothing_older(tmp_path: Path) -> None:
    device = Device(seconds=500 * HOUR)
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "o")) as database:
        database.execute("UPDATE state SET value = 7 WHERE kind = 'seq'")
        database.commit()
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    assert waiting(outbox) == [1, 8]
    outbox.close()
    device.seconds += HOUR
    outbox = device.outbox(tmp_path / "o")
    put(outbox)
    assert waiting(outbox) == [1, 8, 9]
    outbox.close()


def test_boot_clock_is_independent_of_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = boot_clock()
    before = clock.seconds()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 < before <= clock.seconds() < before + DEADLINE
    assert boot_clock().boot == clock.boot != ""


def test_an_age_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_age_hours 0"):
        Outbox(None, max_age_hours=0)
