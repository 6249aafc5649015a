from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow")

from beeagent.errors import InputError
from beeagent_export.images import find_images, resize_images, spread
from support.raw_heads import colour_heads

pytestmark = pytest.mark.training


@given(count=st.integers(1, 60), total=st.integers(1, 200))
def test_a_choice_is_spread_over_all_in_their_order(count: int, total: int) -> None:
    chosen = spread(range(total), count)
    assert len(chosen) == min(count, total)
    assert len(set(chosen)) == len(chosen)
    assert list(chosen) == sorted(chosen)
    gaps = np.diff(chosen)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    assert chosen[0] == 0
    assert count == 1 or chosen[-1] == total - 1


def test_folders_are_searched_at_any_depth_for_images_only(tmp_path: Path) -> None:
    for name in ("images/train/b10.png", "images/train/b2.PNG", "images/a.jpg", "labels/train/b2.txt", "data.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)]
    assert found == ["images/a.jpg", "images/train/b2.PNG", "images/train/b10.png"]


def test_manifest_lists_its_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("one.png", "two.png", "other.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((20, 30, 3), dtype=np.uint8))
    line = (
        '{"source-ref": "s3://bucket/images/%s", "bees": {"image_size": [{"width": 30, "height": 20, "depth": 3}], '
        '"annotations": [{"class_id": 0, "left": 1, "top": 2, "width": 5, "height": 6}]}, "bees-metadata": '
        '{"objects": [{"confidence": 1}], "class-map": {"0": "bee"}, "type": "groundtruth/object-detection", '
        '"human-annotated": "yes", "creation-date": "2026-05-04T10:21:07.123456", "job-name": "test"}}\n'
    )
    manifest = tmp_path / "output.manifest"
    manifest.write_text(line % "two.png" + line % "one.png")
    assert [path.name for path in find_images(manifest)] == ["two.png", "one.png"]


@pytest.mark.parametrize(("name", "message"), [("missing", "do not exist"), ("", "contains no image")])
def test_no_images_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        find_images(tmp_path / name)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(InputError, match=r"broken\.jpg.*remove it"):
        list(resize_images([tmp_path / "broken.jpg"], colour_heads(mean=127.0, std=128.0)))


def test_images_come_out_as_rgb_at_the_input_size(tmp_path: Path) -> None:
    heads = colour_heads(mean=127.0, std=128.0)
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((40, 60, 3), (200, 20, 10), dtype=np.uint8))
    (pixels,) = resize_images([tmp_path / "blue.png"], heads)
    assert pixels.shape == (heads.height, heads.width, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[10, 20, 200]]
