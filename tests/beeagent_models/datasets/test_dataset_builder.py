import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import DatasetBuilder
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    assert cv2.imwrite(str(path), np.zeros((80, 120, 3), np.uint8))
    return path


def build(image: Path, *boxes: tuple[float, float, float, float]) -> DatasetBuilder:
    builder = DatasetBuilder(name="set", labels=["bee"])
    builder.add(image, size=(120, 80), boxes=np.array(boxes, np.float64), labels=["bee"] * len(boxes), where="here:7")
    return builder


def test_boxes_are_clipped_and_those_outside_are_left_out_and_counted(
    image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = build(image, (10, 10, 20, 20), (-5, 70, 30, 95), (130, 10, 140, 20), (119.5, 0, 125, 9)).build()
    assert dataset.images[0].boxes.tolist() == [[10, 10, 20, 20], [0, 70, 30, 80]]
    assert dataset.images[0].class_ids.tolist() == [0, 0]
    assert "clipped to their image: 1" in caplog.text
    assert "outside of it: 2" in caplog.text


def test_valid_dataset_has_no_notes(image: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build(image, (0, 0, 120, 80), (5, 5, 5.5, 5.5), (100, 10, 120.3, 20)).build()
    assert not caplog.records


edges = st.floats(-200, 300)


@given(st.tuples(edges, edges, st.floats(0.1, 400), st.floats(0.1, 400)))
def test_box_is_clipped_to_the_image(
    tmp_path_factory: pytest.TempPathFactory, box: tuple[float, float, float, float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "shared.png"
    if not path.exists():
        cv2.imwrite(str(path), np.zeros((80, 120, 3), np.uint8))
    left, top, width, height = box
    kept = build(path, (left, top, left + width, top + height)).build().images[0].boxes
    expected = (max(left, 0), max(top, 0), min(left + width, 120), min(top + height, 80))
    if len(kept):
        assert kept[0] == pytest.approx(expected, abs=1e-4)
        assert (kept[0, 2:] > kept[0, :2]).all()
    else:
        assert min(expected[2] - expected[0], expected[3] - expected[1]) < 1


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (10, 20, 20, 10), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)])
def test_a_box_without_area_is_refused(image: Path, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match=r"here:7: the box .* has no area"):
        build(image, box)


def test_an_unknown_label_is_refused(image: Path) -> None:
    builder = DatasetBuilder(name="set", labels=["bee", "wasp"])
    with pytest.raises(InputError, match=r"here:1: label 'ant' is not one of bee, wasp"):
        builder.add(image, size=(120, 80), boxes=np.array([[0, 0, 5, 5.0]]), labels=["ant"], where="here:1")


@pytest.mark.parametrize("labels", [[], [""], ["bee", "bee"]])
def test_labels_must_be_there_and_differ(labels: list[str]) -> None:
    with pytest.raises(InputError, match="set: "):
        DatasetBuilder(name="set", labels=labels)


def test_a_dataset_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="set: there is no image"):
        DatasetBuilder(name="set", labels=["bee"]).build()
