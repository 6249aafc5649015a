import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.ground_truth import (
    Labelling,
    manifest_line,
    parse_line,
)
from beeagent_models.datasets.image_files import find_image_file
from beeagent_models.datasets.reading import read_dataset
from hypothesis import example, given
from hypothesis import strategies as st

LABELLING = Labelling(
    attribute="bees", job_name="job", created_at=datetime(2026, 5, 4, tzinfo=timezone.utc), human=True
)


def row(source: str = "s3://bucket/a.png", **changes: object) -> dict[str, Any]:
    content: dict[str, Any] = {
        "source-ref": source,
        "bees": {
            "image_size": [{"width": 120, "height": 80, "depth": 3}],
            "annotations": [{"class_id": 0, "left": 10, "top": 20, "width": 30, "height": 40}],
        },
        "bees-metadata": {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"},
    }
    return {**content, **changes}


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    manifest = folder / "output.manifest"
    manifest.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in rows) + "\n")
    return manifest


def image_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((80, 120, 3), np.uint8))
    return path


whole_boxes = st.tuples(st.integers(0, 118), st.integers(0, 78)).flatmap(
    lambda corner: st.tuples(
        st.just(corner[0]), st.just(corner[1]), st.integers(corner[0] + 1, 120), st.integers(corner[1] + 1, 80)
    )
)
names = st.text(min_size=1, max_size=20).filter(str.strip)


@given(
    st.lists(st.tuples(whole_boxes, st.integers(0, 1)), max_size=8),
    st.lists(names, min_size=2, max_size=2, unique=True),
    names.filter(lambda name: name != "source-ref"),
)
def test_a_line_comes_back_as_written(
    boxes: list[tuple[tuple[int, int, int, int], int]], labels: list[str], attribute: str
) -> None:
    image = LabelledImage(
        path=Path("a.png"),
        width=120,
        height=80,
        boxes=np.array([box for box, _ in boxes], np.float32).reshape(-1, 4),
        class_ids=np.array([class_id for _, class_id in boxes], np.int64),
    )
    labelling = Labelling(attribute=attribute, job_name="j", created_at=LABELLING.created_at, human=False)
    text = manifest_line(image, source_ref="s3://b/ü.png", labels=labels, labelling=labelling)
    assert "\n" not in text
    line = parse_line(text, where="m:1")
    assert line.source_ref == "s3://b/ü.png"
    assert line.size == (120, 80)
    assert line.boxes == tuple(box for box, _ in boxes)
    assert line.class_ids == tuple(class_id for _, class_id in boxes)
    assert line.class_map == dict(enumerate(labels))


@example((119.8, 79.9, 120.0, 80.0))
@given(st.tuples(st.floats(0, 120), st.floats(0, 80), st.floats(0, 120), st.floats(0, 80)))
def test_a_written_box_is_within_half_a_pixel_and_never_without_area(edges: tuple[float, ...]) -> None:
    left, right = sorted((edges[0], edges[2]))
    top, bottom = sorted((edges[1], edges[3]))
    boxes = np.array([[left, top, right, bottom]], np.float32)
    image = LabelledImage(path=Path("a"), width=120, height=80, boxes=boxes, class_ids=np.zeros(1, np.int64))
    line = parse_line(manifest_line(image, source_ref="a", labels=["bee"], labelling=LABELLING), where="m:1")
    found = line.boxes[0]
    assert found[0] + 1 <= found[2] <= 120
    assert found[1] + 1 <= found[3] <= 80
    # Half a pixel, and up to one more where there would be no area.
    assert np.abs(np.array(found) - boxes[0]).max() <= 1.5


def test_images_are_found_beside_the_manifest(tmp_path: Path) -> None:
    first = image_file(tmp_path / "images" / "a.png")
    second = image_file(tmp_path / "b.png")
    third = image_file(tmp_path / "deep" / "er" / "c.png")
    manifest = write(
        tmp_path, row("s3://bucket/x/a.png"), "", row("s3://bucket/x/b.png"), row("s3://bucket/deep/er/c.png")
    )
    dataset = read_dataset(manifest, name="set")
    assert [image.path for image in dataset.images] == [first, second, third]
    assert dataset.labels == ("bee",)
    assert dataset.images[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert dataset.images[0].boxes.dtype == np.float32
    assert dataset.images[0].class_ids.dtype == np.int64


def test_the_fuller_path_wins_over_the_bare_name(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    fuller = image_file(tmp_path / "x" / "a.png")
    assert find_image_file("s3://bucket/x/a.png", beside=tmp_path, where="m:1") == fuller


def test_a_reference_cannot_climb_out_of_the_folder(tmp_path: Path) -> None:
    image_file(tmp_path / "secret.png")
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="is missing"):
        find_image_file("s3://bucket/../secret.png", beside=tmp_path / "set", where="m:1")


def test_lines_need_only_know_the_classes_they_use(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    image_file(tmp_path / "b.png")
    other = row("b.png")
    other["bees"]["annotations"][0]["class_id"] = 7
    other["bees-metadata"]["class-map"] = {"7": "wasp"}
    dataset = read_dataset(write(tmp_path, other, row("a.png")), name="set")
    assert dataset.labels == ("bee", "wasp")
    assert [image.class_ids.tolist() for image in dataset.images] == [[1], [0]]


def test_label_option_sets_the_order(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    dataset = read_dataset(write(tmp_path, row("a.png")), name="set", labels=("wasp", "bee"))
    assert dataset.labels == ("wasp", "bee")
    assert dataset.images[0].class_ids.tolist() == [1]


def with_annotation(**changes: object) -> dict[str, Any]:
    content = row()
    content["bees"]["annotations"][0].update(changes)
    return content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"source-ref": ', "broken JSON"),
        ("[]", "not a JSON object with a 'source-ref'"),
        ('"text"', "not a JSON object with a 'source-ref'"),
        (json.dumps({"bees": 1}), "has no 'source-ref'"),
        (json.dumps({"source-ref": "a.png"}), "no label attribute"),
        (json.dumps(row(bees=None)), "bees: "),
        (json.dumps(row(bees={"image_size": [], "annotations": []})), "bees.image_size: "),
        (json.dumps(with_annotation(width="wide")), "bees.annotations.0.width: "),
        (json.dumps(with_annotation(class_id=3)), "class_id 3 of box 1 is not in the class-map"),
        (json.dumps({**row(), "bees-metadata": {"type": "groundtruth/object-detection"}}), "bees-metadata.class-map: "),
        (
            json.dumps({**row(), "ants": {}, "ants-metadata": {"type": "groundtruth/object-detection"}}),
            r"several label attributes \(bees, ants\)",
        ),
    ],
)
def test_a_defective_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    image_file(tmp_path / "a.png")
    manifest = write(tmp_path, row("a.png"), line)
    with pytest.raises(InputError, match=rf"output\.manifest:2: .*{message}") as caught:
        read_dataset(manifest, name="set")
    assert "\n" not in str(caught.value)


def test_one_of_several_attributes_can_be_named(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    two = row(
        "a.png", **{"ants": row()["bees"], "ants-metadata": {**row()["bees-metadata"], "class-map": {"0": "ant"}}}
    )
    assert read_dataset(write(tmp_path, two), name="set", label_attribute="ants").labels == ("ant",)


def test_a_class_must_be_called_the_same_throughout(tmp_path: Path) -> None:
    other = row("b.png")
    other["bees-metadata"]["class-map"] = {"0": "wasp"}
    with pytest.raises(InputError, match=r"output\.manifest:2: class_id 0 is 'wasp' here and 'bee' at .*manifest:1"):
        read_dataset(write(tmp_path, row(), other), name="set")


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output\.manifest:1: the image s3://bucket/a\.png is missing"):
        read_dataset(write(tmp_path, row()), name="set")


def test_a_wrong_size_is_named(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    wrong = row("a.png")
    wrong["bees"]["image_size"][0]["width"] = 121
    with pytest.raises(InputError, match=r"output\.manifest:1: .* is 120x80, not 121x80"):
        read_dataset(write(tmp_path, wrong), name="set")


def test_binary_data_is_refused_as_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "output.manifest"
    manifest.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_dataset(manifest, name="set")


@given(st.text())
def test_any_text_is_a_line_or_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="m:1: "):
        parse_line(text, where="m:1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["source-ref", "bees", "bees-metadata"]), json_values)
def test_any_value_in_place_of_a_part_is_an_input_error_or_understood(key: str, value: object) -> None:
    content = row()
    content[key] = value
    try:
        parse_line(json.dumps(content), where="m:1")
    except InputError as error:
        assert str(error).startswith("m:1: ")  # noqa: PT017 - not every value is refused
