"""Agent and commands decode, and refuse, the same image files."""

import json
import struct
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera import read_image
from beeagent.errors import BeeagentError, InputError
from beeagent_export.images import find_images
from beeagent_models.dataset_formats import DatasetFormat, ImageHandling
from beeagent_models.datasets.convert import convert
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.image_files import decode_image, load_image
from beeagent_models.datasets.reading import check_dataset, open_dataset, read_dataset
from beeagent_models.show import run_show, show_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

NOW = datetime(2026, 5, 4, tzinfo=timezone.utc)
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
FORMATS = [".bmp", ".jpg", ".png", ".ppm", ".tif", ".webp"]


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, PIXELS)[1].tobytes()


def yolo(folder: Path, name: str, content: bytes) -> Path:
    """Write a YOLO folder of one image with a box on it."""
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    (folder / "images" / name).write_bytes(content)
    (folder / "labels" / Path(name).with_suffix(".txt")).write_text("0 0.5 0.25 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [bee]\n")
    return folder / "images" / name


def refuses(folder: Path, image_file: Path, tmp_path: Path) -> None:
    """Every way into the image refuses it, and names it."""
    result = tmp_path / "result.json"
    result.write_text("{}")
    image = LabelledImage(image_file, 64, 48, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    ways = {
        "agent": lambda: read_image(image_file),
        "evaluate, train": lambda: read_dataset(folder),
        "loader, evaluate, compare": lambda: load_image(image),
        "convert": lambda: convert(
            open_dataset(folder),
            tmp_path / "out",
            to=DatasetFormat.COCO,
            images=ImageHandling.COPY,
            clip=False,
            attribute="bees",
            created_at=NOW,
        ),
        "dataset show": lambda: show_dataset(open_dataset(folder), folder=tmp_path / "drawn", sheet=None, limit=0),
        "show": lambda: run_show(image=image_file, result=result, out=tmp_path / "shown.png", line=1),
    }
    for way, run in ways.items():
        with pytest.raises(BeeagentError) as caught:
            run()
        assert image_file.name in str(caught.value), way
        assert "\n" not in str(caught.value), way
    defects = [str(defect) for defect in check_dataset(str(folder))]
    assert any("bad-image" in defect and image_file.name in defect for defect in defects)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6, 0.95])
def test_a_cut_off_file_is_refused_everywhere(tmp_path: Path, suffix: str, kept: float) -> None:
    content = encoded(suffix)
    image_file = yolo(tmp_path / "set", f"a{suffix}", content[: int(len(content) * kept)])
    refuses(tmp_path / "set", image_file, tmp_path)


@pytest.mark.parametrize("suffix", [".avif", ".gif", ".HEIC", ".jxl"])
def test_a_format_that_is_not_read_is_named_everywhere(tmp_path: Path, suffix: str) -> None:
    image_file = yolo(tmp_path / "set", f"a{suffix}", encoded(".png"))
    refuses(tmp_path / "set", image_file, tmp_path)
    assert f"the format {suffix} is not supported" in str(next(check_dataset(str(tmp_path / "set"))))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.binary(max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_check_and_readers_agree_with_the_agent_on_any_damage(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rubbish: bytes, at: float, end: float
) -> None:
    content = bytearray(encoded(suffix))
    place = int(at * len(content))
    content[place : place + len(rubbish)] = rubbish
    folder = tmp_path_factory.mktemp("damage")
    image_file = yolo(folder, f"a{suffix}", bytes(content[: int(len(content) * (1 - end**8)) + 1]))
    try:
        height, width = read_image(image_file).shape[:2]
    except BeeagentError:
        assert [defect.kind.value for defect in check_dataset(str(folder))] == ["bad-image"]
        with pytest.raises(InputError, match=f"a{suffix}"):
            read_dataset(folder)
    else:
        assert list(check_dataset(str(folder))) == []
        (image,) = read_dataset(folder).images
        assert (image.width, image.height) == (width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_size_is_of_the_upright_image(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = yolo(tmp_path, f"turned{suffix}", b"")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif)
    upright = read_image(path)
    (image,) = read_dataset(tmp_path).images
    assert (image.height, image.width) == upright.shape[:2]
    assert np.array_equal(load_image(image), upright)
    if suffix in {".jpg", ".tif"}:
        assert (image.width, image.height) == ((64, 48) if orientation < 5 else (48, 64))
    done = convert(
        open_dataset(tmp_path),
        tmp_path / "out",
        to=DatasetFormat.COCO,
        images=ImageHandling.COPY,
        clip=False,
        attribute="bees",
        created_at=NOW,
    )
    content = json.loads(done.path.read_text())
    width, height = image.width, image.height
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (width, height)
    assert content["annotations"][0]["bbox"] == [width / 4, 0, width / 2, height / 2]
    assert show_dataset(open_dataset(tmp_path), folder=tmp_path / "drawn", sheet=None, limit=0).endswith("1 boxes")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """Return a black PNG of 8-bit grey with further chunks before the image."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        lambda: png(14000, 13000),
        lambda: png(96, 54, chunk(b"eXIf", b"garbage, no TIFF header")),
        lambda: png(96, 54, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"A" * 2_000_000))),
        lambda: png(96, 54, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"A" * 2_000_000))),
    ],
    ids=["182 megapixels", "garbage in eXIf", "large colour profile", "large comment"],
)
def test_an_odd_png_that_the_agent_reads_is_read_everywhere(tmp_path: Path, content: Callable[[], bytes]) -> None:
    image_file = yolo(tmp_path, "odd.png", content())
    height, width = read_image(image_file).shape[:2]
    assert list(check_dataset(str(tmp_path))) == []
    (image,) = read_dataset(tmp_path).images
    assert (image.width, image.height) == (width, height)


def test_a_missing_or_changed_file_is_named(tmp_path: Path) -> None:
    image_file = yolo(tmp_path, "a.png", encoded(".png"))
    (image,) = read_dataset(tmp_path).images
    image_file.write_bytes(png(10, 20))
    with pytest.raises(InputError, match=r"a\.png: is 10x20, not 64x48 as before"):
        load_image(image)
    image_file.unlink()
    with pytest.raises(InputError, match=r"a\.png: cannot be read: No such file"):
        decode_image(image_file)
    with pytest.raises(InputError, match=r"cannot be read"):
        decode_image(Path("a\0.png"))


def test_export_lists_the_images_of_a_manifest_by_the_same_reader(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg")[:-100])
    line = {
        "source-ref": "s3://bucket/a.jpg",
        "bees": {"image_size": [{"width": 64, "height": 48}], "annotations": []},
        "bees-metadata": {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"},
    }
    (tmp_path / "m.manifest").write_text(json.dumps(line))
    with pytest.raises(InputError, match=r"m\.manifest:1: .*a\.jpg: is not an image, or is damaged"):
        find_images(tmp_path / "m.manifest")
