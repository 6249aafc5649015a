from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.reading import open_dataset
from beeagent_models.show import show_dataset

GREY = 90


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """Return a YOLO folder of ten grey images, 60x40, each with a box in its middle."""
    for folder in ("images", "labels"):
        (tmp_path / "garden" / folder).mkdir(parents=True)
    (tmp_path / "garden" / "data.yaml").write_text("names: [bee]\n")
    for number in range(10):
        assert cv2.imwrite(str(tmp_path / "garden" / "images" / f"{number}.png"), np.full((40, 60, 3), GREY, np.uint8))
        (tmp_path / "garden" / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return tmp_path / "garden"


def test_images_evenly_spread_are_drawn_with_their_boxes(garden: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    summary = show_dataset(open_dataset(garden), folder=out, sheet=None, limit=5)
    assert summary == f"{out}: 5 of 10 images, 5 boxes"
    assert sorted(path.name for path in out.iterdir()) == [f"{n:06}-{n}.jpg" for n in (0, 2, 4, 6, 8)]
    drawn = cv2.imread(str(out / "000004-4.jpg"))
    assert drawn is not None
    assert drawn.shape == (440, 660, 3)
    # The box's left edge runs at a quarter of the image; JPEG blurs, but grey it is not.
    assert np.ptp(drawn[300, 165].astype(int)) > 40
    assert np.ptp(drawn[300, 330].astype(int)) < 20


def test_a_contact_sheet_has_a_square_for_each_image(garden: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    summary = show_dataset(open_dataset(garden), folder=None, sheet=sheet, limit=6, columns=3, side=120)
    assert summary == f"{sheet}: 6 of 10 images, 6 boxes"
    pixels = cv2.imread(str(sheet))
    assert pixels is not None
    assert pixels.shape[1] == 4 + 3 * 124
    coloured = np.ptp(pixels.astype(int), axis=2) > 40
    for row in range(2):
        for column in range(3):
            left, top = 4 + column * 124, 4 + row * (120 + 18 + 4)
            # 120x80 in the middle of its square, with the box from a quarter to three quarters.
            assert coloured[top + 60, left + 25 : left + 36].any()
            assert not coloured[top + 60, left + 45 : left + 75].any()
            assert (pixels[top + 60, left + 60] == GREY).all()
            assert (pixels[top + 120 : top + 138, left : left + 20] < 128).any()


def test_few_images_make_a_small_sheet(garden: Path, tmp_path: Path) -> None:
    show_dataset(open_dataset(garden), folder=None, sheet=tmp_path / "sheet.png", limit=1, columns=9, side=120)
    pixels = cv2.imread(str(tmp_path / "sheet.png"))
    assert pixels is not None
    assert pixels.shape[1] == 128


@pytest.mark.parametrize(
    ("folder", "sheet", "message"),
    [
        (None, None, "give --out, --sheet or both"),
        (None, "sheet.xyz", r"give a name that ends in \.png or \.jpg"),
        (None, "nowhere/sheet.png", "there is no folder"),
        ("garden/data.yaml", None, "cannot be created"),
    ],
)
def test_unwritable_output_is_refused(
    garden: Path, tmp_path: Path, folder: str | None, sheet: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        show_dataset(
            open_dataset(garden),
            folder=tmp_path / folder if folder else None,
            sheet=tmp_path / sheet if sheet else None,
            limit=0,
        )


def test_an_image_that_cannot_be_read_is_named(garden: Path, tmp_path: Path) -> None:
    content = (garden / "images" / "3.png").read_bytes()
    (garden / "images" / "3.png").write_bytes(content[:40])
    with pytest.raises(InputError, match=r"images/3\.png: is not an image"):
        show_dataset(open_dataset(garden), folder=tmp_path / "drawn", sheet=None, limit=0)
