import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent.outbox import Outbox, OutboxCounts
from beeagent.outbox.recovery import set_aside
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outbox_disk import Disk
from support.outbox_files import read_books

DEADLINE = 45.0


def put(outbox: Outbox, count: int = 1) -> None:
    for _ in range(count):
        outbox.put(stream="s", topic="t", payload=b"%d " % outbox.next_number("s") + bytes(300))
    assert outbox.flush(timeout=DEADLINE)


def waiting(outbox: Outbox) -> list[int]:
    return [int(row.payload.split()[0]) for row in outbox.waiting(limit=10_000)]


def write_outbox(path: Path, *, produced: int = 60, delivered: int = 10) -> bytes:
    outbox = Outbox(path)
    put(outbox, produced)
    outbox.delivered([row.id for row in outbox.waiting(limit=delivered)])
    assert outbox.close(timeout=DEADLINE)
    return path.read_bytes()


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def page_of(path: Path, number: int) -> int:
    """Return the offset of the page that has a result, from SQLite's own page numbers."""
    return path.read_bytes().index(b"%d " % number + bytes(300)) // 1024 * 1024


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look at" * 10, b"SQLite format 3\0" + bytes(2000)]
)
def test_file_that_is_not_an_outbox_is_renamed_unchanged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "o").write_bytes(content)
    outbox = Outbox(tmp_path / "o")
    put(outbox)
    assert outbox.problem is not None
    assert "renamed to o.damaged-1: its numbers could not be read and start again from 1" in outbox.problem
    assert outbox.counts() == OutboxCounts(produced=1, delivered=0, dropped={})
    assert outbox.close(timeout=DEADLINE)
    assert (tmp_path / "o.damaged-1").read_bytes() == content


def test_broken_page_loses_its_rows_only_and_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "o"
    write_outbox(path)
    overwrite(path, page_of(path, 30), b"\xff" * 1024)
    outbox = Outbox(path)
    rest = waiting(outbox)
    lost = 50 - len(rest)
    assert 1 <= lost <= 3  # what fits in a page
    assert 30 not in rest
    assert set(rest) < set(range(11, 61))
    assert outbox.problem is not None
    assert f"{lost} results are lost" in outbox.problem
    assert outbox.counts() == OutboxCounts(produced=60, delivered=10, dropped={"damaged": lost})
    put(outbox)
    assert waiting(outbox) == [*rest, 61]
    assert outbox.close(timeout=DEADLINE)
    assert read_books(path).balanced


def test_counts_that_do_not_add_up_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "o"
    write_outbox(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM message WHERE id = 40")
        database.commit()
    outbox = Outbox(path)
    assert outbox.problem is not None
    assert outbox.counts() == OutboxCounts(produced=60, delivered=10, dropped={"damaged": 1})
    assert len(waiting(outbox)) == 49
    assert outbox.close(timeout=DEADLINE)


def test_file_damaged_in_use_is_replaced_without_losing_numbers(tmp_path: Path) -> None:
    path = tmp_path / "o"
    write_outbox(path)
    disk = Disk()
    outbox = Outbox(path, connect=disk.connect)
    put(outbox)
    assert outbox.problem is None
    outbox.delivered([20])
    with disk.hanging():  # all of it is lost, even the numbers
        disk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk.execute("PRAGMA shrink_memory")
        overwrite(path, 0, bytes(path.stat().st_size))
        disk.execute("PRAGMA cache_size = 0")
    put(outbox)
    assert outbox.problem is not None
    assert "renamed to o.damaged-1" in outbox.problem
    counts = outbox.counts()
    assert counts.produced == 62
    assert counts.delivered == 10
    assert counts.waiting == len(waiting(outbox))
    assert waiting(outbox)[-1] == 62
    assert outbox.close(timeout=DEADLINE)
    assert read_books(path).balanced


def test_broken_page_found_by_a_read_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "o"
    write_outbox(path)
    disk = Disk()
    outbox = Outbox(path, connect=disk.connect)
    overwrite(path, page_of(path, 30), b"\xff" * 1024)
    disk.execute("PRAGMA shrink_memory")
    rest = waiting(outbox)
    assert outbox.counts().dropped == {"damaged": 50 - len(rest)}
    assert outbox.counts().waiting == len(rest)
    assert 30 not in rest
    assert outbox.close(timeout=DEADLINE)
    assert read_books(path).balanced


def test_undecodable_text_in_the_sqlite_schema_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "o"
    content = write_outbox(path)
    overwrite(path, content.index(b"indexsqlite_autoindex"), b"\xff")
    outbox = Outbox(path)
    assert outbox.problem is not None
    assert "Could not decode" in outbox.problem
    assert outbox.close(timeout=DEADLINE)
    assert read_books(path).balanced


def test_header_of_a_newer_sqlite_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "o"
    write_outbox(path)
    overwrite(path, 18, b"\x03")
    outbox = Outbox(path)
    assert outbox.problem is not None
    assert "its header has the versions 3, 2" in outbox.problem
    rows = waiting(outbox)
    assert len(rows) >= 50
    put(outbox)
    assert len(waiting(outbox)) == len(rows) + 1
    assert outbox.close(timeout=DEADLINE)
    assert read_books(path).balanced


def test_no_more_than_three_damaged_files_are_kept(tmp_path: Path) -> None:
    for _ in range(12):
        (tmp_path / "o").write_bytes(b"x" * 1000)
        Outbox(tmp_path / "o").close()
    kept = sorted(path.name for path in tmp_path.glob("o.damaged-*"))
    assert kept == ["o.damaged-10", "o.damaged-11", "o.damaged-12"]


def test_log_of_damaged_file_is_renamed_with_it(tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"x" * 1000)
    (tmp_path / "o-wal").write_bytes(b"y" * 1000)
    assert set_aside(tmp_path / "o") == tmp_path / "o.damaged-1"
    assert {path.name for path in tmp_path.iterdir()} == {"o.damaged-1", "o.damaged-1-wal"}


Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Cut the file off, or overwrite some places of it with anything."""
    cut = draw(st.one_of(st.none(), st.integers(1, 40_000)))
    places = draw(st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=1200)), max_size=5))

    def apply(content: bytes) -> bytes:
        changed = bytearray(content)
        for offset, new in places:
            start = offset % len(content)
            changed[start : start + len(new)] = new[: len(content) - start]
        return bytes(changed[:cut])

    return apply


@given(damages())
@settings(max_examples=80, deadline=None)
def test_any_damaged_file_opens_with_consistent_counts(
    tmp_path_factory: pytest.TempPathFactory, damage: Damage
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "o"
    path.write_bytes(damage(write_outbox(path)))
    with suppress(InputError):  # the very bytes are hit that tell whose file it is, and of which release
        outbox = Outbox(path)
        rows = len(outbox.waiting(limit=10_000))
        put(outbox)
        counts = outbox.counts()
        assert counts.waiting == len(outbox.waiting(limit=10_000)) >= 1
        assert rows <= counts.produced
        assert outbox.close(timeout=DEADLINE)
        assert read_books(path).balanced
