from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.reading import read_dataset
from beeagent_models.datasets.synthesize import synthesize
from beeagent_models.synthetic import random_scene_frame

DATE = datetime(2026, 5, 4, tzinfo=timezone.utc)


def make(folder: Path, *, frames: int = 4, seed: int = 3) -> Path:
    return synthesize(folder, frames=frames, width=160, height=96, seed=seed, created_at=DATE)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_drawn_images_are_read_with_their_boxes(tmp_path: Path) -> None:
    looked_at: list[int] = []
    manifest = synthesize(
        tmp_path / "new" / "set",
        frames=4,
        width=160,
        height=96,
        seed=3,
        created_at=DATE,
        progress=lambda: looked_at.append(1),
    )
    dataset = read_dataset(manifest)
    assert len(looked_at) == len(dataset.images) == 4
    assert dataset.labels == ("bee",)
    assert sum(len(image.boxes) for image in dataset.images) > 4
    for index, image in enumerate(dataset.images):
        scene = random_scene_frame(np.random.default_rng([3, index]), width=160, height=96)
        assert image.boxes.shape == scene.boxes.shape
        assert np.abs(image.boxes - scene.boxes).max(initial=0) <= 1.5
        drawn = cv2.imread(str(image.path))
        assert drawn is not None
        # JPEG loses little.
        assert np.abs(drawn.astype(int) - scene.pixels).mean() < 8


def test_the_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(tmp_path / name, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a")["000000.jpg"] != content(tmp_path / "c")["000000.jpg"]


def test_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    make(tmp_path / "small", frames=2)
    make(tmp_path / "large", frames=3)
    small, large = content(tmp_path / "small"), content(tmp_path / "large")
    assert large["output.manifest"].startswith(small["output.manifest"])
    assert [large[name] for name in ("000000.jpg", "000001.jpg")] == [small["000000.jpg"], small["000001.jpg"]]


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(InputError, match="is not empty"):
        make(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        make(tmp_path / "precious")
    assert content(tmp_path) == {"precious": b"data"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 64, 64, 0), "frames is 0"),
        ((1, 8, 64, 0), "size is 8x64"),
        ((1, 64, 9000, 0), "size is 64x9000"),
        ((1, 64, 64, -1), "seed is -1"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, values: tuple[int, int, int, int], message: str) -> None:
    frames, width, height, seed = values
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "set", frames=frames, width=width, height=height, seed=seed, created_at=DATE)
    assert not (tmp_path / "set").exists()
