import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from beeagent.errors import InputError
from beeagent.tracking import load_places
from beeagent_models.archive import Archive, ArchiveOptions, ArchiveWorker, ResultFormat, VideoCounts, find_videos
from beeagent_models.archive.pool import CrashedVideo, count_videos
from support.beeagent_process import environment, tiny_bare_model
from support.tiny_models import square_finder

Corners = Callable[[int], Sequence[tuple[int, int]]]

DEADLINE = 170.0
pytestmark = pytest.mark.timeout(180)  # several processes, each of which loads the model


def write_video(path: Path, frames: int, corners: Corners, *, fps: float = 10.0) -> Path:
    """Write a video of 64x64 with red squares of 8x8 at these left top corners of each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 64))
    assert writer.isOpened()
    for index in range(frames):
        pixels = np.full((64, 64, 3), 40, dtype=np.uint8)
        for left, top in corners(index):
            pixels[top : top + 8, left : left + 8] = (0, 0, 255)
        writer.write(pixels)
    writer.release()
    return path


@pytest.fixture
def options(tmp_path: Path) -> ArchiveOptions:
    _, model, _, labels = tiny_bare_model(tmp_path)
    return ArchiveOptions(model=str(model), labels=str(labels), interval_s=2)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    write_video(folder / "one.avi", 45, lambda index: [(8, 8), (40, 40)][: 1 + (index == 12)])
    write_video(folder / "2026" / "May" / "two.avi", 20, lambda index: [(16, 16)] * (index % 2))
    write_video(folder / "empty.avi", 10, lambda _: [])
    (folder / ".hidden.avi").write_bytes(b"not a video")
    (folder / "notes.txt").write_text("no video", encoding="utf-8")
    return folder


def archive(recordings: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `beeagent archive` with the tiny model, in a process of its own."""
    folder = recordings.parent
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "beeagent", "archive", recordings, "--out", out, "--interval", "2"),
            *tiny_bare_model(folder),
            *arguments,
        ],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, output, errors


def results(out: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder, but for the leftovers of killed processes."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_count_each_interval(recordings: Path, options: ArchiveOptions) -> None:
    counts = ArchiveWorker(recordings, options)("one.avi")
    assert counts.problem is None
    assert counts.rows == [
        {"file": "one.avi", "position_s": 0, "label": "red", "frames": 20, "detections": 21, "mean": 1.05, "max": 2},
        {"file": "one.avi", "position_s": 2, "label": "red", "frames": 20, "detections": 20, "mean": 1, "max": 1},
        {"file": "one.avi", "position_s": 4, "label": "red", "frames": 5, "detections": 5, "mean": 1, "max": 1},
    ]


def test_rate_processes_the_first_frame_of_each_slot(recordings: Path, options: ArchiveOptions) -> None:
    at_rate = ArchiveOptions(model=options.model, labels=options.labels, interval_s=2, rate=5)
    counts = ArchiveWorker(recordings, at_rate)("one.avi")
    assert [row["frames"] for row in counts.rows] == [10, 10, 3]
    assert counts.rows[0]["max"] == 2  # frame 12 is at 1.2 s
    every_other = ArchiveWorker(recordings, at_rate)("2026/May/two.avi")
    assert [(row["frames"], row["detections"]) for row in every_other.rows] == [(10, 0)]


def test_places_count_in_and_out(tmp_path: Path, options: ArchiveOptions) -> None:
    places = tmp_path / "places.toml"
    places.write_text(
        '[lines.door]\npoints = [[0, 0.5], [1, 0.5]]\nin = "up"\n'
        "[masks.right]\npoints = [[0.8, 0], [1, 0], [1, 1], [0.8, 1]]\n",
        encoding="utf-8",
    )
    # Up in the first second, in steps of a cell of the model's grid, and a square that the mask hides.
    write_video(tmp_path / "fly.avi", 30, lambda index: [(24, max(0, 56 - 8 * (index // 2))), (56, 56)], fps=20)
    with_places = ArchiveOptions(model=options.model, labels=options.labels, interval_s=60, places=load_places(places))
    counts = ArchiveWorker(tmp_path, with_places)("fly.avi")
    assert [(row["door_in"], row["door_out"], row["max"], row["detections"]) for row in counts.rows] == [(1, 0, 1, 30)]
    assert list(counts.rows[0]) == list(with_places.columns)


def test_results_are_identical_for_1_and_2_workers(recordings: Path, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        code, output, errors = ended(archive(recordings, tmp_path / workers, "--workers", workers))
        assert (code, output) == (0, ""), errors
        assert f"{tmp_path / workers}: 3 videos, 0 of them already done, 0 with a problem" in errors
    first = results(tmp_path / "1")
    assert set(first) == {"_archive.json", "one.avi.csv", "empty.avi.csv", "2026/May/two.avi.csv"}
    assert first == results(tmp_path / "2")
    (row,) = rows(tmp_path / "1" / "empty.avi.csv")
    assert (row["frames"], row["detections"], row["max"]) == ("10", "0", "0")


def test_broken_videos_are_listed_and_do_not_stop_the_rest(recordings: Path, tmp_path: Path) -> None:
    whole = (recordings / "one.avi").read_bytes()
    (recordings / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (recordings / "nothing.mp4").write_bytes(b"nothing")
    out = tmp_path / "counts"
    code, output, errors = ended(archive(recordings, out, "--workers", "1"))
    assert code == 1, errors
    listed = output.splitlines()
    assert len(listed) == 2
    assert any("cut.avi" in line and "cut off or damaged" in line for line in listed)
    assert any("nothing.mp4" in line for line in listed)
    assert rows(out / "one.avi.csv")
    assert 0 < int(rows(out / "cut.avi.csv")[0]["frames"]) <= 20
    assert rows(out / "nothing.mp4.csv") == []

    again = ended(archive(recordings, out, "--workers", "1"))
    assert again[:2] == (1, output)
    assert "5 of them already done" in again[2]

    (recordings / "cut.avi").write_bytes(whole)
    (recordings / "nothing.mp4").unlink()
    code, output, errors = ended(archive(recordings, out, "--workers", "1"))
    assert (code, output) == (0, ""), errors
    assert (out / "cut.avi.csv").read_bytes() == (out / "one.avi.csv").read_bytes().replace(b"one.avi", b"cut.avi")


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_kills_leave_whole_files_and_the_same_command_resumes(recordings: Path, tmp_path: Path) -> None:
    for number in range(6):
        write_video(recordings / f"long{number}.avi", 60 + number, lambda index: [(8, 8)] * (index % 3 > 0))
    reference, out = tmp_path / "reference", tmp_path / "counts"
    assert ended(archive(recordings, reference, "--workers", "2"))[0] == 0
    expected = results(reference)
    killed_with = []
    for _ in range(4):
        process = archive(recordings, out, "--workers", "2")
        before = len(results(out))
        while process.poll() is None and len(results(out)) <= before + 1:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE)  # the workers, which hold its standard error, end too
        killed_with.append(results(out))
    assert any(len(found) < len(expected) for found in killed_with)
    for found in killed_with:
        assert found.items() <= expected.items()
    code, _, errors = ended(archive(recordings, out, "--workers", "2"))
    assert code == 0, errors
    assert results(out) == expected


def test_crashed_worker_is_replaced(tmp_path: Path, options: ArchiveOptions) -> None:
    write_video(tmp_path / "good.avi", 10, lambda _: [(8, 8)])
    os.mkfifo(tmp_path / "stuck.avi")  # opening it blocks
    found = count_videos(tmp_path, ["good.avi", "stuck.avi", "good.avi"], options, workers=1)
    first = next(found)
    assert isinstance(first, VideoCounts)
    (child,) = _children()
    os.kill(child, signal.SIGKILL)
    crashed = next(found)
    assert isinstance(crashed, CrashedVideo)
    assert (crashed.file, "SIGKILL" in crashed.problem) == ("stuck.avi", True)
    last = next(found)
    assert isinstance(last, VideoCounts)
    assert last.rows == first.rows
    assert next(found, None) is None


def _children() -> list[int]:
    """Return the worker processes of this process; another child is multiprocessing's resource tracker."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def test_other_options_are_refused_in_one_line(recordings: Path, tmp_path: Path, options: ArchiveOptions) -> None:
    out = tmp_path / "counts"
    Archive(recordings, out, options)
    Archive(recordings, out, options)
    with pytest.raises(InputError, match=r"counts was made with interval 2, not 60\.0: give the same, or a new"):
        Archive(recordings, out, ArchiveOptions(model=options.model, labels=options.labels))
    with pytest.raises(InputError, match=r"was made with threshold 0\.5, not 0\.4"):
        Archive(
            recordings,
            out,
            ArchiveOptions(model=options.model, labels=options.labels, interval_s=2, threshold=0.4),
        )
    elsewhere = tmp_path / "elsewhere"
    write_video(elsewhere / "one.avi", 2, lambda _: [])
    with pytest.raises(InputError, match="was made from the folder"):
        Archive(elsewhere, out, options)
    Path(str(options.model)).write_bytes(square_finder(max_detections=5))
    with pytest.raises(InputError, match="was made with model tiny@"):
        Archive(recordings, out, options)


def test_out_of_something_else_is_refused(recordings: Path, tmp_path: Path, options: ArchiveOptions) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".one.avi.csv.x1").write_text("of a process that was killed", encoding="utf-8")
    Archive(recordings, tmp_path / "out", options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"full is not empty and has no _archive\.json"):
        Archive(recordings, tmp_path / "full", options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": 0.0}, "rate is 0: give a number"),
        ({"interval_s": 0.5}, r"interval is 0\.5: allowed are 1 to 86400 seconds"),
        ({"rate": float("nan")}, "rate is nan: give a number"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ArchiveOptions(**given)  # type: ignore[arg-type]


def test_wrong_threshold_writes_nothing(recordings: Path, tmp_path: Path, options: ArchiveOptions) -> None:
    wrong = ArchiveOptions(model=options.model, labels=options.labels, threshold=2)
    with pytest.raises(InputError, match="threshold is 2"):
        Archive(recordings, tmp_path / "counts", wrong)
    assert not (tmp_path / "counts").exists()


def test_folder_without_videos_is_refused(tmp_path: Path, options: ArchiveOptions) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no videos"):
        Archive(tmp_path / "empty", tmp_path / "counts", options)
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        find_videos(tmp_path / "missing")


def test_parquet_has_the_columns_and_types(recordings: Path, tmp_path: Path, options: ArchiveOptions) -> None:
    archive = Archive(recordings, tmp_path / "counts", options, result_format=ResultFormat.PARQUET)
    counts = ArchiveWorker(recordings, options)("one.avi")
    archive.store(counts)
    table = pq.read_table(tmp_path / "counts" / "one.avi.parquet")
    assert table.to_pylist() == counts.rows
    assert [str(kind) for kind in table.schema.types] == [
        *("string", "double", "string", "int64", "int64", "double", "int64")
    ]
    assert sorted(archive.pending()) == ["2026/May/two.avi", "empty.avi"]


def test_record_names_model_and_options(recordings: Path, tmp_path: Path, options: ArchiveOptions) -> None:
    Archive(recordings, tmp_path / "counts", options)
    record = json.loads((tmp_path / "counts" / "_archive.json").read_text(encoding="utf-8"))
    assert record["schema"] == "beeagent.archive/1"
    assert record["model"].startswith("tiny@")
    assert (record["threshold"], record["interval"], record["format"]) == (0.5, 2, "csv")
