"""Complete videos whose containers count frames that are not shown."""

import struct
from pathlib import Path

import pytest
from beeagent.camera import BadFrameError, IncompleteVideoError, VideoFileSource
from beeagent.camera.video import hidden_frames
from hypothesis import given
from hypothesis import strategies as st
from support.numbered_frames import number_in, write_video


def read_all(path: Path) -> tuple[list[int], list[float], list[BadFrameError]]:
    """Return the numbers of the frames, their positions, and the errors."""
    source = VideoFileSource(path)
    numbers: list[int] = []
    positions: list[float] = []
    errors: list[BadFrameError] = []
    while True:
        try:
            frame = source.read()
        except BadFrameError as error:
            errors.append(error)
            continue
        if frame is None:
            source.close()
            return numbers, positions, errors
        assert frame.position_s is not None
        numbers.append(number_in(frame.pixels))
        positions.append(frame.position_s)


def with_empty_chunks(path: Path, empty: set[int]) -> Path:
    """Write the AVI file anew with some of its video chunks of 0 bytes, and its index to match."""
    data = path.read_bytes()
    movi = data.index(b"movi")
    index = data.index(b"idx1", movi)
    header, at, chunks = data[:movi], movi + 4, []
    while at < index and data[at : at + 4] == b"00dc":
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunks.append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    body, entries = b"movi", b""
    for number, chunk in enumerate(chunks):
        kept = b"" if number in empty else chunk
        entries += b"00dc" + struct.pack("<3I", 0x10, len(body), len(kept))
        body += b"00dc" + struct.pack("<I", len(kept)) + kept + b"\0" * (len(kept) % 2)
    lists = header[:-4] + struct.pack("<I", len(body)) + body + b"idx1" + struct.pack("<I", len(entries)) + entries
    path.write_bytes(lists[:4] + struct.pack("<I", len(lists) - 8) + lists[8:])
    return path


@pytest.mark.parametrize("empty", [{3, 4, 17}, {0, 1}, {27, 28, 29}, set(range(2, 28))])
def test_avi_with_dropped_frames_is_complete(tmp_path: Path, empty: set[int]) -> None:
    path = with_empty_chunks(write_video(tmp_path / "a.avi", 30, codec="MJPG"), empty)
    numbers, positions, errors = read_all(path)
    shown = sorted(set(range(30)) - empty)
    assert (numbers, errors) == (shown, [])
    assert positions == [pytest.approx(number / 10) for number in shown]


def test_cut_off_avi_with_dropped_frames_is_incomplete(tmp_path: Path) -> None:
    path = with_empty_chunks(write_video(tmp_path / "a.avi", 30, codec="MJPG"), {3, 4})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    *_, errors = read_all(path)
    assert [type(error) for error in errors] == [IncompleteVideoError]


def trimmed(path: Path, frames: int) -> Path:
    """Let the edit list of an MP4 file hide its first frames, as a phone does that trims a video."""
    data = bytearray(path.read_bytes())
    (timescale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    elst = data.index(b"elst")
    (duration,) = struct.unpack_from(">I", data, elst + 12)  # in milliseconds
    struct.pack_into(">2I", data, elst + 12, duration - frames * 100, frames * timescale // 10)
    path.write_bytes(data)
    return path


def test_trimmed_mp4_is_complete(tmp_path: Path) -> None:
    numbers, positions, errors = read_all(trimmed(write_video(tmp_path / "a.mp4", 50), 15))
    assert (numbers, errors) == (list(range(15, 50)), [])
    assert positions == [pytest.approx(number / 10) for number in range(35)]


def test_cut_off_mp4_with_edit_list_is_incomplete(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.mp4", 50).read_bytes()
    moov = data.index(b"moov") - 4
    mdat = data.index(b"mdat") - 4
    content, index = data[mdat:moov], bytearray(data[moov:])
    # The index first, as in files for the web, so that a cut costs frames and not the index.
    stco = index.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", index, stco)
    for at in range(stco + 4, stco + 4 + 4 * count, 4):
        struct.pack_into(">I", index, at, struct.unpack_from(">I", index, at)[0] + len(index))
    path = tmp_path / "b.mp4"
    path.write_bytes(data[:mdat] + index + content)
    assert read_all(path) == (list(range(50)), [pytest.approx(number / 10) for number in range(50)], [])
    path.write_bytes((data[:mdat] + index + content)[: -len(content) // 2])
    numbers, _, errors = read_all(path)
    assert 0 < len(numbers) < 50
    assert isinstance(errors[-1], IncompleteVideoError)


def test_flv_with_a_pause_is_complete(tmp_path: Path) -> None:
    """FLV has time stamps and a duration, but counts no frames: OpenCV makes a count of the duration."""
    path = write_video(tmp_path / "a.flv", 50, codec="FLV1")
    data = bytearray(path.read_bytes())
    struct.pack_into(">d", data, data.index(b"duration") + 9, 25.0)
    at, frames = 13, 0
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if data[at] == 9:
            frames += 1
            if frames > 25:
                later = int.from_bytes(data[at + 4 : at + 7], "big") + 20_000
                data[at + 4 : at + 7] = later.to_bytes(3, "big")
        at += 11 + size + 4
    path.write_bytes(data)
    numbers, positions, errors = read_all(path)
    assert (numbers, errors) == (list(range(50)), [])
    assert positions[-1] == pytest.approx(24.9)


def boxes_with_sizes(sizes: list[int]) -> bytes:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    table = box(b"stsz", struct.pack(f">{3 + len(sizes)}I", 0, 0, len(sizes), *sizes))
    inner = table
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        inner = box(kind, inner)
    return box(b"ftyp", b"isom") + inner


def test_hidden_frames_counts_empty_mp4_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(boxes_with_sizes([9, 0, 7, 0]))
    assert hidden_frames(path, 4) == 2


@given(
    content=st.binary(max_size=300), start=st.sampled_from([b"", b"RIFF\x00\x10\x00\x00AVI ", boxes_with_sizes([1, 0])])
)
def test_hidden_frames_of_any_file(tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(start + content)
    assert 0 <= hidden_frames(path, 7) <= max(7, len(content))
