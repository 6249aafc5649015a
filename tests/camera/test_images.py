import random
import string
import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera import BadFrameError, SourceOptions, natural_key, open_source, parse_camera, read_image
from beeagent.camera.images import ImageSource, list_folder, list_pattern
from beeagent.camera.source import GrabbingSource
from beeagent.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.numbered_frames import number_in, numbered_image


def write(path: Path, number: int) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, numbered_image(number))[1].tobytes())
    return path


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with nothing but the orientation behind the start marker."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def numbers_from(source: ImageSource) -> list[int]:
    numbers = []
    while (frame := source.read()) is not None:
        numbers.append(number_in(frame.pixels))
    return numbers


def test_folder_images_in_natural_order(tmp_path: Path) -> None:
    numbers = [0, 1, 2, 9, 10, 11, 100]
    for number in random.Random(1).sample(numbers, len(numbers)):  # noqa: S311 - any order
        write(tmp_path / f"bee {number}.png", number)
    (tmp_path / "labels.txt").write_text("bee")
    (tmp_path / "old.png").mkdir()
    source = ImageSource(list_folder(tmp_path), description="images")
    assert not source.live
    assert isinstance(source, GrabbingSource)
    assert numbers_from(source) == numbers
    assert source.read() is None


def test_pattern_matches_across_folders(tmp_path: Path) -> None:
    for night in (1, 2, 10):
        folder = tmp_path / f"night{night}"
        folder.mkdir()
        write(folder / "a.jpg", night)
        write(folder / "b.png", 500)
    paths = list_pattern(str(tmp_path / "night*" / "*.jpg"))
    assert numbers_from(ImageSource(paths, description="nights")) == [1, 2, 10]
    deep = tmp_path / "night1" / "early" / "morning"
    deep.mkdir(parents=True)
    write(deep / "c.png", 501)
    assert len(list_pattern(str(tmp_path / "**" / "*.png"))) == 4


def test_frames_are_named_by_file(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.png", n) for n in range(3)]
    source = ImageSource(paths, description="three")
    frames = [source.read() for _ in paths]
    assert [(f.index, f.name) for f in frames if f] == [(n, f"{n}.png") for n in range(3)]
    stamps = [f.captured_ns for f in frames if f]
    assert stamps == sorted(stamps)
    assert all(f.captured_at.utcoffset().total_seconds() == 0 for f in frames if f)  # type: ignore[union-attr]


def test_frames_of_pattern_are_named_by_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("night/a/1.png", "night/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        write(tmp_path / name, 1)
    monkeypatch.chdir(tmp_path)
    for pattern in ("night/**/*.png", str(tmp_path / "night" / "**" / "*.png"), "./night/?/1.png"):
        source = open_source(parse_camera(pattern), SourceOptions())
        assert [frame.name for frame in iter(source.read, None) if frame] == ["a/1.png", "b/1.png"]
    assert [
        frame.name for frame in iter(open_source(parse_camera("*/a/*.png"), SourceOptions()).read, None) if frame
    ] == ["night/a/1.png"]


def test_damaged_image_is_a_bad_frame_and_reading_continues(tmp_path: Path) -> None:
    good = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 160, 3), np.uint8))[1].tobytes()
    write(tmp_path / "0.png", 0)
    (tmp_path / "1.jpg").write_bytes(b"this is not an image")
    (tmp_path / "2.jpg").touch()
    (tmp_path / "3.jpg").write_bytes(good[:100])
    write(tmp_path / "4.png", 4)
    (tmp_path / "5.png").symlink_to(tmp_path / "nowhere")
    paths = [tmp_path / name for name in ("0.png", "1.jpg", "2.jpg", "3.jpg", "4.png", "5.png")]
    source = ImageSource(paths, description="mixed")
    got: list[int | str] = []
    while True:
        try:
            frame = source.read()
        except BadFrameError as error:
            got.append(str(error))
            continue
        if frame is None:
            break
        assert frame.index == number_in(frame.pixels)
        got.append(frame.index)
    assert got == [
        0,
        *(f"{tmp_path}/{n}.jpg: is not an image, or is damaged" for n in (1, 2, 3)),
        4,
        f"{tmp_path}/5.png: cannot be read: No such file or directory",
    ]


def test_single_damaged_image_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.png: is not an image"):
        ImageSource([broken], description=str(broken))


def test_single_image_is_one_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "one.bmp", 77)
    assert numbers_from(ImageSource([path], description="one")) == [77]


@pytest.mark.parametrize("name", ["蜂 im Flug ünd søn.png", "a:b.png", "100%d.png", "-.png", "new\nline.png"])
def test_odd_names_are_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, 321)
    assert number_in(read_image(tmp_path / name)) == 321


@pytest.mark.parametrize(
    ("orientation", "top_left"),
    [(1, "red"), (3, "black"), (6, "black"), (8, "black")],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, top_left: str) -> None:
    stored = np.zeros((32, 64, 3), dtype=np.uint8)
    stored[:16, :32] = (0, 0, 255)  # red at the top left
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_orientation(cv2.imencode(".jpg", stored)[1].tobytes(), orientation))
    shown = read_image(path)
    height, width = shown.shape[:2]
    assert (width, height) == ((64, 32) if orientation in (1, 3) else (32, 64))
    corners = {
        (x, y)
        for x in (0, 1)
        for y in (0, 1)
        if shown[height // 8 + y * height * 3 // 4, width // 8 + x * width * 3 // 4, 2] > 128
    }
    # Where EXIF 2.3 says that row 0 and column 0 are: 3 turned half, 6 and 8 a quarter.
    assert corners == {{1: (0, 0), 3: (1, 1), 6: (1, 0), 8: (0, 1)}[orientation]}
    assert (top_left == "red") == ((0, 0) in corners)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((5, 7), 200, np.uint8), (200, 200, 200)),
        (np.full((5, 7), 200 * 257, np.uint16), (200, 200, 200)),
        (np.full((5, 7, 3), (10, 20, 30), np.uint8), (10, 20, 30)),
        (np.full((5, 7, 4), (10, 20, 30, 128), np.uint8), (10, 20, 30)),
    ],
    ids=["grey", "grey of 16 bits", "colour", "transparent"],
)
def test_images_become_bgr(tmp_path: Path, stored: NDArray[np.integer], expected: tuple[int, int, int]) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    pixels = read_image(path)
    assert pixels.shape == (5, 7, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


def test_folder_without_images_and_pattern_without_matches_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"contains no images \(files ending in \.bmp"):
        list_folder(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="matches no file"):
        list_pattern(str(tmp_path / "*.jpg"))


def test_close_ends_images(tmp_path: Path) -> None:
    source = ImageSource([write(tmp_path / f"{n}.png", n) for n in range(2)], description="two")
    source.close()
    source.close()
    assert source.read() is None


PATHS = st.lists(st.text(alphabet=string.ascii_letters + string.digits + "_-²", min_size=1, max_size=6).map(Path))


@given(PATHS)
def test_natural_order_is_total(paths: list[Path]) -> None:
    unique = list(dict.fromkeys(paths))
    ordered = sorted(unique, key=natural_key)
    shuffled = random.Random(1).sample(unique, len(unique))  # noqa: S311 - any order
    assert sorted(shuffled, key=natural_key) == ordered
    keys = [natural_key(path) for path in ordered]
    assert all(a < b for a, b in pairwise(keys))


@given(st.lists(st.integers(0, 10**6), unique=True), st.text(alphabet=string.ascii_lowercase, max_size=3))
def test_natural_order_compares_numbers(numbers: list[int], word: str) -> None:
    paths = [Path(f"{word}{number}{word}.jpg") for number in numbers]
    assert sorted(paths, key=natural_key) == [Path(f"{word}{n}{word}.jpg") for n in sorted(numbers)]
