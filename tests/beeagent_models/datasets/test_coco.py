import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.reading import read_dataset
from hypothesis import given
from hypothesis import strategies as st


def content(**changes: object) -> dict[str, Any]:
    return {
        "images": [{"id": 11, "file_name": "a.png", "width": 120, "height": 80}],
        "annotations": [{"id": 5, "image_id": 11, "category_id": 3, "bbox": [10, 20, 30, 40], "iscrowd": 0}],
        "categories": [{"id": 3, "name": "bee"}, {"id": 1, "name": "wasp"}],
        **changes,
    }


def write(folder: Path, text: dict[str, Any] | str, *, image: str = "a.png", file: str = "data.json") -> Path:
    for path in (folder / image, folder / file):
        path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / image), np.zeros((80, 120, 3), np.uint8))
    (folder / file).write_text(text if isinstance(text, str) else json.dumps(text))
    return folder / file


boxes = st.tuples(st.floats(0, 60), st.floats(0, 40), st.floats(1, 59), st.floats(1, 39))


@given(st.lists(st.tuples(boxes, st.sampled_from([3, 1])), max_size=6))
def test_written_annotations_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[tuple[float, float, float, float], int]]
) -> None:
    annotations = [{"image_id": 11, "category_id": category, "bbox": box} for box, category in drawn]
    file = write(tmp_path_factory.getbasetemp() / "coco-round-trip", content(annotations=annotations))
    dataset = read_dataset(file, name="set")
    assert dataset.labels == ("wasp", "bee")
    expected = [[left, top, left + width, top + height] for (left, top, width, height), _ in drawn]
    assert np.allclose(dataset.images[0].boxes, np.array(expected).reshape(-1, 4), atol=1e-4)
    assert dataset.images[0].class_ids.tolist() == [1 if category == 3 else 0 for _, category in drawn]


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("data.json", "a.png"),
        ("data.json", "images/a.png"),
        ("annotations/instances_val.json", "a.png"),
        ("annotations/instances_val.json", "images/a.png"),
        ("annotations/instances_val.json", "val/a.png"),
        ("annotations/instances_val.json", "images/val/a.png"),
    ],
)
def test_images_are_found_where_they_usually_are(tmp_path: Path, file: str, image: str) -> None:
    dataset = read_dataset(write(tmp_path, content(), file=file, image=image), name="set")
    assert dataset.images[0].path.samefile(tmp_path / image)


def test_crowds_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crowd = {"image_id": 11, "category_id": 3, "bbox": [0, 0, 100, 70], "iscrowd": 1}
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(write(tmp_path, content(annotations=[*content()["annotations"], crowd])), name="set")
    assert dataset.images[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert "crowd regions left out: they are not boxes of single objects: 1" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "Invalid JSON"),
        ({"images": content()["images"]}, "annotations, categories: missing, so this is not a COCO file"),
        (content(images=[{"id": 11, "file_name": "a.png", "width": "w", "height": 80}]), r"images\.0: width: "),
        (
            content(annotations=[{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]),
            r"annotations\.0: .* image with id 1",
        ),
        (
            content(annotations=[{"id": 8, "image_id": 11, "category_id": 9, "bbox": [0, 0, 1, 1]}]),
            r"annotations\.0: there is no category with id 9",
        ),
        (content(annotations=[{"image_id": 11, "category_id": 3, "bbox": [0, 0, 1]}]), r"annotations\.0: bbox: "),
        (
            content(annotations=[{"image_id": 11, "category_id": 3, "bbox": [0, 0, 0, 1]}]),
            r"annotations\.0: box 1, .* no area",
        ),
        (content(images=content()["images"] * 2), r"images\.1: image id 11 is used twice"),
        (content(categories=content()["categories"] * 2), r"categories\.2: category id 3 is 'bee', too"),
        (content(categories=[]), r"there is no category; give the labels: .*data\.json=bee"),
        (
            content(images=[{"id": 11, "file_name": "b.png", "width": 120, "height": 80}]),
            r"images\.0: .*b.png is missing",
        ),
        (
            content(images=[{"id": 11, "file_name": "a.png", "width": 1, "height": 1}]),
            r"images\.0: .* is 120x80, not 1x1",
        ),
    ],
)
def test_a_defect_is_named(tmp_path: Path, text: dict[str, Any] | str, message: str) -> None:
    with pytest.raises(InputError, match=rf"data\.json: {message}") as caught:
        read_dataset(write(tmp_path, text), name="set")
    assert "\n" not in str(caught.value)
