import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from beeagent.camera import BadFrameError, IncompleteVideoError, VideoFileSource
from beeagent.camera.source import GrabbingSource
from beeagent.errors import InputError
from support.numbered_frames import number_in, write_video


def read_all(source: VideoFileSource) -> tuple[list[int], list[BadFrameError]]:
    """Return the frame numbers, each checked against the frame's index, and the errors in between."""
    numbers: list[int] = []
    errors: list[BadFrameError] = []
    while True:
        try:
            frame = source.read()
        except BadFrameError as error:
            errors.append(error)
            continue
        if frame is None:
            return numbers, errors
        assert number_in(frame.pixels) == frame.index
        numbers.append(frame.index)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.mov", "mp4v"), ("b.avi", "XVID")]
)
def test_video_frames_once_and_in_order(tmp_path: Path, name: str, codec: str) -> None:
    source = VideoFileSource(write_video(tmp_path / name, 60, codec=codec))
    assert not source.live
    assert isinstance(source, GrabbingSource)
    assert source.fps == pytest.approx(10)
    assert read_all(source) == (list(range(60)), [])
    assert source.read() is None


def test_grabbed_frames_keep_their_index(tmp_path: Path) -> None:
    source = VideoFileSource(write_video(tmp_path / "a.avi", 10, codec="MJPG"))
    seen = []
    while source.grab():
        if not source.grab():
            break
        seen.append(source.retrieve())
    assert [frame.index for frame in seen] == [1, 3, 5, 7, 9]
    assert [number_in(frame.pixels) for frame in seen] == [1, 3, 5, 7, 9]


def test_video_frame_attributes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    source = VideoFileSource(path)
    first, second = source.read(), source.read()
    assert first is not None
    assert second is not None
    assert (first.name, first.width, first.height) == ("a.mp4", 160, 64)
    assert (first.position_s, second.position_s) == (0, pytest.approx(0.1))
    assert first.captured_ns <= second.captured_ns
    assert first.captured_at.tzinfo is not None
    # The next frame is not written into the memory of the one before.
    assert number_in(first.pixels) == 0


@pytest.mark.parametrize("name", ["ünï 蜂.mp4", "a:b.mp4", "concat:a.mp4", "p%03d.mp4", "-i.mp4"])
def test_odd_names_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_video(tmp_path / "a.mp4", 5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_all(VideoFileSource(Path(name)))[0] == list(range(5))


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mkv", "mp4v")])
def test_truncated_video_raises_incomplete_once_at_the_end(tmp_path: Path, name: str, codec: str) -> None:
    whole = write_video(tmp_path / f"whole-{name}", 60, codec=codec).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    numbers, errors = read_all(VideoFileSource(cut))
    assert 0 < len(numbers) < 60
    assert numbers == list(range(len(numbers)))
    assert len(errors) == 1
    assert isinstance(errors[0], IncompleteVideoError)
    end = len(numbers)
    assert str(errors[0]) == (
        f"{cut}: frame {end} cannot be read: the file has only {end} of the 60 frames that its "
        "header promises; it is cut off or damaged"
    )


def test_damage_costs_only_the_frames_it_hit(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "a.mp4", 50).read_bytes())
    middle = len(data) // 2
    data[middle - 150 : middle + 150] = bytes(300)
    (tmp_path / "a.mp4").write_bytes(data)
    source = VideoFileSource(tmp_path / "a.mp4")
    indices, bad = [], []
    while True:
        try:
            frame = source.read()
        except BadFrameError as error:
            bad.append(str(error))
            continue
        if frame is None:
            break
        indices.append(frame.index)
    assert indices[-1] == 49
    lost = sorted(set(range(50)) - set(indices))
    assert bad == [f"{tmp_path}/a.mp4: frame {index} cannot be decoded" for index in lost]
    assert 0 < len(lost) < 25


def test_silently_skipped_frames_raise_incomplete_at_the_end(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "a.avi", 50, codec="MJPG").read_bytes())
    middle = len(data) // 2
    data[middle - 150 : middle + 150] = bytes(300)
    (tmp_path / "a.avi").write_bytes(data)
    source = VideoFileSource(tmp_path / "a.avi")
    good, errors = 0, []
    while True:
        try:
            frame = source.read()
        except BadFrameError as error:
            errors.append(error)
            continue
        if frame is None:
            break
        good += 1
    assert 40 < good < 50
    assert isinstance(errors[-1], IncompleteVideoError)


@pytest.mark.parametrize("content", [b"", b"this is not a video\n" * 500, b"\0" * 5000])
def test_file_that_is_not_a_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fake\.mp4: is not a video that can be decoded"):
        VideoFileSource(path)


def test_video_without_index_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", 50).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="its beginning or index is missing"):
        VideoFileSource(tmp_path / "cut.mp4")


def test_missing_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.mp4: is not a video that can be decoded|gone\.mp4: cannot be read"):
        VideoFileSource(tmp_path / "gone.mp4")


def test_close_ends_video(tmp_path: Path) -> None:
    source = VideoFileSource(write_video(tmp_path / "a.avi", 5, codec="MJPG"))
    assert source.read() is not None
    source.close()
    source.close()
    assert source.read() is None


def test_close_during_read_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = VideoFileSource(write_video(tmp_path / "a.avi", 50, codec="MJPG"))
    assert source.read() is not None
    grab = source._reader.grab

    def close_first() -> bool:
        closer = threading.Thread(target=source.close)
        closer.start()
        closer.join(10)
        return grab()

    monkeypatch.setattr(source._reader, "grab", close_first)
    assert source.read() is None


def test_close_from_another_thread_during_reads(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 300, codec="MJPG")
    for delay in range(20):
        source = VideoFileSource(path)
        closer = threading.Thread(target=source.close)
        for _ in range(delay):
            source.read()
        closer.start()
        with suppress(BadFrameError):  # the frame that was grabbed and then not decoded any more
            while source.read() is not None:
                pass
        closer.join(10)
        assert source.read() is None


def test_fifo_is_read_as_it_comes(tmp_path: Path) -> None:
    stream = write_video(tmp_path / "a.avi", 30, codec="MJPG").read_bytes()
    fifo = tmp_path / "pipe.avi"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(stream), daemon=True)
    writer.start()
    numbers, _ = read_all(VideoFileSource(fifo))
    assert numbers == list(range(30))
    writer.join(10)


def test_opencv_and_ffmpeg_are_silent(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 50, codec="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "fake.mp4").write_bytes(b"hello" * 1000)
    script = """
from beeagent.errors import BeeagentError
from beeagent.camera import SourceOptions, open_source, parse_camera

for text in ("cut.avi", "fake.mp4", "rtsp://user:secret@127.0.0.1:1/x"):
    try:
        source = open_source(parse_camera(text), SourceOptions())
        while source.read() is not None:
            pass
    except BeeagentError as error:
        print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("IncompleteVideoError\nInputError\nSourceUnreachableError\n", "")
