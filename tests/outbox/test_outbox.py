import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent.outbox import Outbox, OutboxCounts, Row
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outbox_disk import Disk

DEADLINE = 45.0
NEVER = 3600.0  # seconds between commits, for tests in which only a flush or commit_immediately may commit


def payload(number: int) -> bytes:
    return b"result %d" % number


def put(outbox: Outbox, stream: str = "hive/front") -> int:
    return outbox.put(stream=stream, topic=f"bees/{stream}", payload=payload(outbox.next_number(stream)))


def stored(outbox: Outbox) -> list[Row]:
    assert outbox.flush(timeout=DEADLINE)
    return outbox.waiting(limit=10_000)


def rows_in_file(path: Path) -> list[bytes]:
    """Read the file as another program, after its owner has closed it."""
    database = sqlite3.connect(path)
    try:
        return [row[0] for row in database.execute("SELECT payload FROM message ORDER BY id")]
    finally:
        database.close()


def test_numbers_rise_by_one_for_each_stream() -> None:
    outbox = Outbox(None)
    assert [put(outbox, stream) for stream in "aabaab"] == [1, 2, 1, 3, 4, 2]
    assert [(row.topic, row.payload) for row in stored(outbox)] == [
        ("bees/a", b"result 1"),
        ("bees/a", b"result 2"),
        ("bees/b", b"result 1"),
        ("bees/a", b"result 3"),
        ("bees/a", b"result 4"),
        ("bees/b", b"result 2"),
    ]
    outbox.close()


def test_numbers_rows_and_counts_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "outbox.sqlite3"
    outbox = Outbox(path)
    for _ in range(3):
        put(outbox)
    first, second, third = stored(outbox)
    outbox.delivered([first.id])
    outbox.drop([second.id], reason="refused")
    assert outbox.close(timeout=DEADLINE)

    outbox = Outbox(path)
    assert outbox.counts() == OutboxCounts(produced=3, delivered=1, dropped={"refused": 1})
    assert outbox.depth() == 1
    assert put(outbox) == 4
    assert [row.payload for row in stored(outbox)] == [third.payload, b"result 4"]
    assert outbox.close(timeout=DEADLINE)


def test_numbers_continue_with_an_empty_outbox(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o")
    put(outbox)
    outbox.delivered([row.id for row in stored(outbox)])
    assert outbox.close(timeout=DEADLINE)
    outbox = Outbox(tmp_path / "o")
    assert outbox.depth() == 0
    assert put(outbox) == 2
    outbox.close()


def test_row_is_returned_only_after_its_commit(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", commit_interval_s=NEVER)
    put(outbox)
    assert outbox.waiting() == []
    assert outbox.depth() == 1
    assert len(stored(outbox)) == 1
    outbox.close()


def test_result_is_produced_once_stored() -> None:
    outbox = Outbox(None, commit_interval_s=NEVER)
    put(outbox)
    assert outbox.counts() == OutboxCounts(produced=0, delivered=0, dropped={})
    assert outbox.flush(timeout=DEADLINE)
    assert outbox.counts() == OutboxCounts(produced=1, delivered=0, dropped={})
    outbox.close()


def test_commit_immediately_commits_each_result() -> None:
    outbox = Outbox(None, commit_interval_s=NEVER)
    committed = threading.Event()
    outbox.listen(committed.set)
    outbox.commit_immediately = True
    put(outbox)
    assert committed.wait(DEADLINE)
    assert len(outbox.waiting()) == 1
    outbox.close()


def test_commit_immediately_has_no_effect_without_commit_at_once() -> None:
    outbox = Outbox(None, commit_interval_s=0.05, commit_at_once=False)
    outbox.commit_immediately = True
    assert not outbox.commit_immediately
    assert len(stored(outbox)) == 0
    outbox.close()


def test_commit_immediately_commits_earlier_results() -> None:
    outbox = Outbox(None, commit_interval_s=NEVER)
    committed = threading.Event()
    outbox.listen(committed.set)
    put(outbox)
    outbox.commit_immediately = True
    assert committed.wait(DEADLINE)
    outbox.close()


def test_results_are_committed_together_after_the_interval(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", commit_interval_s=0.05)
    committed = threading.Event()
    outbox.listen(committed.set)
    put(outbox)
    assert committed.wait(DEADLINE)
    assert len(outbox.waiting()) == 1
    outbox.close()


def test_number_of_a_result_that_is_not_put_is_not_used() -> None:
    outbox = Outbox(None)
    put(outbox)
    assert outbox.next_number("hive/front") == 2
    assert outbox.next_number("hive/back") == 1
    assert put(outbox) == 2
    assert len(stored(outbox)) == outbox.counts().produced == 2
    outbox.close()


def test_delivered_row_is_not_returned_before_its_removal_is_committed() -> None:
    outbox = Outbox(None, commit_interval_s=NEVER)
    for _ in range(4):
        put(outbox)
    rows = stored(outbox)
    outbox.delivered([rows[0].id, rows[2].id])
    assert [row.id for row in outbox.waiting(limit=2)] == [rows[1].id, rows[3].id]
    assert outbox.depth() == 2
    outbox.close()


def test_waiting_returns_rows_after_an_id_up_to_a_limit() -> None:
    outbox = Outbox(None)
    for _ in range(5):
        put(outbox)
    rows = stored(outbox)
    assert outbox.waiting(after=rows[1].id, limit=2) == rows[2:4]
    outbox.close()


def test_row_removed_twice_counts_once() -> None:
    outbox = Outbox(None)
    put(outbox)
    (row,) = stored(outbox)
    outbox.delivered([row.id, row.id])
    assert outbox.flush(timeout=DEADLINE)
    outbox.delivered([row.id])
    outbox.drop([row.id], reason="refused")
    assert outbox.flush(timeout=DEADLINE)
    assert outbox.counts() == OutboxCounts(produced=1, delivered=1, dropped={})
    outbox.close()


def test_full_outbox_drops_and_counts_the_oldest(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", max_megabytes=0.2)
    for number in range(1, 201):
        outbox.put(stream="s", topic="t", payload=b"%06d" % outbox.next_number("s") + bytes(3000))
        if number % 10 == 0:
            assert outbox.flush(timeout=DEADLINE)
    rows = stored(outbox)
    counts = outbox.counts()
    assert counts.produced == 200
    assert set(counts.dropped) == {"full"}
    assert counts.waiting == len(rows)
    assert [int(row.payload[:6]) for row in rows] == list(range(201 - len(rows), 201))
    assert 30 <= len(rows) <= 66
    outbox.close()


def test_size_limit_holds_with_small_commits(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", max_megabytes=0.2)
    for _ in range(200):
        outbox.put(stream="s", topic="t", payload=bytes(3000))
        assert outbox.flush(timeout=DEADLINE)
    outbox.close()
    assert (tmp_path / "o").stat().st_size < 250_000


def test_removal_of_dropped_row_counts_as_dropped() -> None:
    outbox = Outbox(None, max_megabytes=0.1)
    put(outbox)
    (first,) = stored(outbox)
    for _ in range(60):
        outbox.put(stream="s", topic="t", payload=bytes(3000))
    assert first not in stored(outbox)
    outbox.delivered([first.id])
    assert outbox.flush(timeout=DEADLINE)
    counts = outbox.counts()
    assert counts.delivered == 0
    assert counts.waiting == len(outbox.waiting(limit=1000))
    outbox.close()


def test_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o"
    disk = Disk()
    outbox = Outbox(path, connect=disk.connect)
    put(outbox)
    assert outbox.flush(timeout=DEADLINE)
    # SQLite's own bound on the size of a file fails as a full disk does, with SQLITE_FULL.
    disk.execute(f"PRAGMA max_page_count = {disk.execute('PRAGMA page_count')}")
    outbox.put(stream="hive/front", topic="t", payload=bytes(100_000))
    put(outbox)
    assert outbox.wait_for(lambda: outbox.problem is not None, timeout=DEADLINE)
    assert outbox.problem is not None
    assert "full" in outbox.problem
    assert outbox.depth() == 3
    disk.execute("PRAGMA max_page_count = 1000000")
    assert [len(row.payload) for row in stored(outbox)] == [8, 100_000, 8]
    assert outbox.problem is None
    assert outbox.close(timeout=DEADLINE)
    assert len(rows_in_file(path)) == 3


def test_read_only_file_system_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    disk = Disk()
    outbox = Outbox(tmp_path / "o", connect=disk.connect)
    put(outbox)
    assert outbox.flush(timeout=DEADLINE)
    # SQLite's own switch; it fails as a file system does that has been remounted.
    disk.execute("PRAGMA query_only = ON")
    put(outbox)
    assert outbox.wait_for(lambda: outbox.problem is not None, timeout=DEADLINE)
    assert outbox.problem is not None
    assert "readonly" in outbox.problem
    assert [row.payload for row in outbox.waiting()] == [b"result 1"]
    assert outbox.counts() == OutboxCounts(produced=1, delivered=0, dropped={})
    disk.execute("PRAGMA query_only = OFF")
    assert [row.payload for row in stored(outbox)] == [b"result 1", b"result 2"]
    assert outbox.close(timeout=DEADLINE)


def test_unstored_results_are_logged_at_close(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    outbox = Outbox(tmp_path / "o", connect=disk.connect)
    disk.execute("PRAGMA query_only = ON")
    put(outbox)
    assert not outbox.close()
    assert "1 results could not be stored and are lost" in caplog.text


LIMITED = """
import resource, sys
from pathlib import Path
from beeagent.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
for _ in range(200):
    outbox.put(stream="s", topic="t", payload=b"%d" % outbox.next_number("s") + bytes(1000))
assert not outbox.flush(timeout=0.5) and outbox.problem, outbox.problem
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert outbox.flush(timeout=20) and outbox.problem is None, outbox.problem
print(len(outbox.waiting(limit=1000)), outbox.counts().waiting, outbox.close())
"""


def test_file_size_limit_loses_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "o")], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout == "200 200 True\n", ended.stderr


def test_results_beyond_memory_are_dropped_and_counted_while_the_disk_hangs() -> None:
    outbox = Outbox(None, max_megabytes=0.1, commit_interval_s=NEVER)
    for _ in range(50):
        outbox.put(stream="s", topic="t", payload=b"%06d" % outbox.next_number("s") + bytes(3000))
    assert outbox.counts().dropped == {"not-stored": 50 - 33}
    rows = stored(outbox)
    assert int(rows[-1].payload[:6]) == 50
    counts = outbox.counts()
    assert counts.produced == 50
    assert counts.waiting == len(rows)
    outbox.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o")
    with pytest.raises(InputError, match="in use by another beeagent"):
        Outbox(tmp_path / "o")
    outbox.close()
    Outbox(tmp_path / "o").close()


def test_file_of_another_program_is_refused_unchanged(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "o")
    database.execute("CREATE TABLE message (text)")
    database.close()
    before = (tmp_path / "o").read_bytes()
    with pytest.raises(InputError, match="another program"):
        Outbox(tmp_path / "o")
    assert (tmp_path / "o").read_bytes() == before


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    Outbox(tmp_path / "o").close()
    database = sqlite3.connect(tmp_path / "o")
    database.execute("PRAGMA user_version = 4")
    database.close()
    with pytest.raises(InputError, match="format 4"):
        Outbox(tmp_path / "o")


def test_file_of_the_previous_format_is_migrated(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "o")) as outbox:
        put(outbox, "front")
    with closing(sqlite3.connect(tmp_path / "o")) as database:
        database.execute("DROP TABLE held")
        database.execute("PRAGMA user_version = 2")
    with closing(Outbox(tmp_path / "o")) as outbox:
        assert (outbox.counts().waiting, outbox.recovered_rows, outbox.problem) == (1, {}, None)
        outbox.reserve("a", b"held")
    with closing(Outbox(tmp_path / "o")) as outbox:
        assert outbox.recovered_rows == {"a": b"held"}


def test_reserved_row_is_released_with_its_result(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "o")) as outbox:
        for key in ("a", "b", "c"):
            outbox.reserve(key, key.encode())
        assert outbox.flush(timeout=60)
        outbox.put(stream="s", topic="t", payload=b"decided", releases="b")
        outbox.release("c")
        outbox.reserve("d", b"settled before it was stored")
        outbox.release("d")
    with closing(Outbox(tmp_path / "o")) as outbox:
        assert outbox.recovered_rows == {"a": b"a"}
        assert outbox.counts().waiting == 1


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be opened"):
        Outbox(tmp_path / "file" / "o")


def test_closed_outbox_accepts_nothing() -> None:
    outbox = Outbox(None)
    assert outbox.close(timeout=DEADLINE)
    assert outbox.close(timeout=DEADLINE)
    with pytest.raises(ValueError, match="closed"):
        put(outbox)


KILLED = """
import sys, os
from pathlib import Path
from beeagent.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), commit_interval_s=0.002)
outbox.commit_immediately = True
def show():
    # What is seen here is what a publisher could have published.
    for row in outbox.waiting(after=show.after, limit=1000):
        show.after = row.id
        os.write(1, row.payload + b"\\n")
        if row.id % 3 == 0:
            outbox.delivered([row.id])
show.after = 0
outbox.listen(show)
show()
while True:
    outbox.put(stream="s", topic="t", payload=b"%d %s" % (outbox.next_number("s"), os.urandom(8).hex().encode()))
"""


def test_kill_9_neither_loses_nor_reuses_published_numbers(tmp_path: Path) -> None:
    path = tmp_path / "o"
    seen: dict[int, str] = {}
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait(DEADLINE)
        process.stdout.close()
        for line in lines:
            if not line.endswith("\n"):
                continue  # cut off by the kill
            number, content = line.split()
            assert seen.setdefault(int(number), content) == content
    outbox = Outbox(path)
    counts = outbox.counts()
    waiting = {int(row.payload.split()[0]): row.payload.split()[1].decode() for row in outbox.waiting(limit=10**6)}
    assert counts.waiting == len(waiting)
    assert sorted(seen) == list(range(1, max(seen) + 1))
    assert counts.produced >= max(seen)
    assert all(seen.get(number, content) == content for number, content in waiting.items())
    outbox.close()


@given(st.lists(st.sampled_from(["put a", "put b", "deliver", "drop", "reopen", "flush"]), max_size=40))
@settings(max_examples=40)
def test_any_operations_keep_counts_consistent_and_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o"
    outbox = Outbox(path)
    expected: list[tuple[str, int]] = []
    produced = delivered = dropped = 0
    for step in steps:
        if step.startswith("put"):
            stream = step[-1]
            number = outbox.put(stream=stream, topic=stream, payload=payload(outbox.next_number(stream)))
            expected.append((stream, number))
            produced += 1
        elif step in ("deliver", "drop") and expected:
            row = stored(outbox)[0]
            expected.pop(0)
            if step == "deliver":
                outbox.delivered([row.id])
                delivered += 1
            else:
                outbox.drop([row.id], reason="refused")
                dropped += 1
        elif step == "reopen":
            assert outbox.close(timeout=DEADLINE)
            outbox = Outbox(path)
        assert outbox.depth() == len(expected)
        if step == "flush":
            assert outbox.flush(timeout=DEADLINE)
            counts = outbox.counts()
            assert (counts.produced, counts.delivered, sum(counts.dropped.values())) == (produced, delivered, dropped)
            assert counts.waiting == len(expected)
    assert [(row.topic, row.payload) for row in stored(outbox)] == [(stream, payload(n)) for stream, n in expected]
    assert outbox.close(timeout=DEADLINE)
    assert len(rows_in_file(path)) == len(expected)


def test_slow_disk_does_not_block_put(tmp_path: Path) -> None:
    disk = Disk()
    outbox = Outbox(tmp_path / "o", commit_interval_s=0.0, connect=disk.connect)
    with disk.hanging():
        done = threading.Event()

        def work() -> None:
            for _ in range(100):
                put(outbox)
            done.set()

        threading.Thread(target=work, daemon=True).start()
        assert done.wait(DEADLINE)
    assert len(stored(outbox)) == 100
    outbox.close()
