import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.reading import check_dataset, read_dataset
from hypothesis import given
from hypothesis import strategies as st

ROW = "0 0.5 0.5 0.5 0.5"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((80, 120, 3), np.uint8))


def found(data: object, folder: Path, *, labels: str | None = None) -> list[tuple[str, str, str]]:
    """Return place within the folder, kind and words of each defect."""
    defects = list(check_dataset(str(data), labels=labels))
    assert not any("\n" in str(defect) for defect in defects)
    return [(d.where.removeprefix(f"{folder}/"), d.kind.value, d.what) for d in defects]


def yolo(folder: Path, rows: str | bytes) -> str:
    for name in ("a.png", "b.png"):
        image(folder / "images" / name)
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(f"{ROW}\n")
    (folder / "labels" / "b.txt").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return f"{folder}=bee"


@pytest.mark.parametrize(
    ("rows", "line", "kind", "what"),
    [
        ("0 0.5 0.5 0.5", 3, "broken-line", "has 4 fields"),
        ("x 0.5 0.5 0.5 0.5", 3, "broken-line", "is not a class number and ratios"),
        ("1 0.5 0.5 0.5 0.5", 3, "label-unknown", "class 1 is unknown; the labels are bee"),
        ("0 0.9 0.5 0.5 0.5", 3, "box-outside", r"box 2, from \(78, 20\) to \(138, 60\), extends beyond the .* 120x80"),
        ("0 0.5 0.5 0 0.5", 3, "box-empty", "has no area"),
        ("0 nan 0.5 0.5 0.5", 3, "box-empty", "has no area"),
        (ROW, 3, "duplicate", "box 2, .* is the same as box 1"),
    ],
)
def test_a_defective_row_of_a_yolo_folder_is_named(tmp_path: Path, rows: str, line: int, kind: str, what: str) -> None:
    ((where, found_kind, words),) = found(yolo(tmp_path, f"{ROW}\n\n{rows}\n"), tmp_path)
    assert (where, found_kind) == (f"labels/b.txt:{line}", kind)
    assert re.search(what, words), words


def test_defective_files_of_a_yolo_folder_are_named(tmp_path: Path) -> None:
    data = yolo(tmp_path, b"\xff")
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    (tmp_path / "labels" / "ghost.txt").write_text(ROW)
    (tmp_path / "labels" / "classes.txt").write_text("bee")
    image(tmp_path / "images" / "b.jpg")
    assert [(where, kind) for where, kind, _ in found(data, tmp_path)] == [
        ("images/a.png", "bad-image"),
        ("labels/b.txt", "broken-line"),
        ("images/b.png", "duplicate"),
        ("labels/ghost.txt", "missing-image"),
    ]


@pytest.mark.parametrize(
    "content", [b"names: [bee", b"\xff", b"nc: 1", b"names: {1: bee}", b"names: [bee]\nkpt_shape: 3"]
)
def test_a_broken_data_yaml_is_a_defect(tmp_path: Path, content: bytes) -> None:
    yolo(tmp_path, ROW)
    (tmp_path / "data.yaml").write_bytes(content)
    ((where, kind, _),) = found(tmp_path, tmp_path)
    assert (where, kind) == ("data.yaml", "broken-line")
    with pytest.raises(InputError):
        read_dataset(tmp_path)


def test_check_notes_what_readers_skip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    yolo(tmp_path, ROW)
    (tmp_path / "train.txt").write_text("images/a.png\n")
    (tmp_path / "data.yaml").write_text("names: [bee]\ntrain: train.txt\nval: gone/images\n")
    assert found(tmp_path, tmp_path) == []
    (unread, gone) = caplog.messages
    assert "lists of images, which are not supported, train: train.txt" in unread
    assert "without a folder, val: gone/images" in gone


@pytest.mark.timeout(20)
def test_special_files_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/dev/zero: is neither a regular file nor a folder"):
        found("/dev/zero", tmp_path)
    data = yolo(tmp_path, ROW)
    os.mkfifo(tmp_path / "images" / "c.png")
    assert found(data, tmp_path) == [("images/c.png", "bad-image", "is not a regular file")]


def test_a_sound_yolo_folder_has_no_defect_and_none_is_refused(tmp_path: Path) -> None:
    assert found(yolo(tmp_path, ""), tmp_path) == []
    with pytest.raises(InputError, match=r"has no data\.yaml"):
        found(tmp_path, tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="there is no image"):
        found(f"{tmp_path}=bee", tmp_path)


def coco(folder: Path, **changes: object) -> Path:
    image(folder / "a.png")
    content = {
        "annotations": [{"id": 5, "image_id": 11, "category_id": 3, "bbox": [10, 20, 30, 40]}],
        "images": [{"id": 11, "file_name": "a.png", "width": 120, "height": 80}],
        "categories": [{"id": 3, "name": "bee"}],
        **changes,
    }
    (folder / "c.json").write_text(json.dumps(content))
    return folder / "c.json"


def annotations(*changes: dict[str, object]) -> dict[str, Any]:
    one = {"image_id": 11, "category_id": 3, "bbox": [10, 20, 30, 40]}
    return {"annotations": [{**one, **change} for change in changes]}


def images(*changes: dict[str, object]) -> dict[str, Any]:
    one = {"id": 11, "file_name": "a.png", "width": 120, "height": 80}
    return {"images": [{**one, **change} for change in changes]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (annotations({}, {}), [("annotations.1", "duplicate")]),
        (annotations({"bbox": [100, 20, 30, 40]}), [("annotations.0", "box-outside")]),
        (annotations({"bbox": [10, 20, 0, 40]}), [("annotations.0", "box-empty")]),
        (annotations({"bbox": [10, 20, float("nan"), 40]}), [("annotations.0", "box-empty")]),
        (
            annotations({"bbox": [1, 2, 3]}, {"image_id": "x"}),
            [("annotations.0", "broken-line"), ("annotations.1", "broken-line")],
        ),
        (
            annotations({"image_id": 4, "category_id": 9}),
            [("annotations.0", "missing-image"), ("annotations.0", "label-unknown")],
        ),
        (annotations({"category_id": 10**30}), [("annotations.0", "label-unknown")]),
        (images({"file_name": "none.png"}), [("images.0", "missing-image")]),
        (images({"file_name": "c.json"}), [("images.0", "bad-image")]),
        (images({"width": 121}), [("images.0", "size-wrong")]),
        (images({"width": 10**400}), [("images.0", "size-wrong"), ("annotations.0", "missing-image")]),
        (images({}, {}), [("images.1", "duplicate")]),
        (images({}, {"id": 12}), [("images.1", "duplicate")]),
        ({"categories": [{"id": 3, "name": "bee"}, {"id": 3, "name": "bee"}]}, [("categories.1", "duplicate")]),
        ({"categories": [{"id": 3, "name": "ant"}]}, [("categories.0", "label-unknown")]),
        ({"categories": 3}, [("categories", "broken-line"), ("annotations.0", "label-unknown")]),
    ],
)
def test_a_defect_of_a_coco_file_is_named(
    tmp_path: Path, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    defects = found(coco(tmp_path, **changes), tmp_path, labels="bee")
    assert [(where.removeprefix("c.json: "), kind) for where, kind, _ in defects] == expected


def test_truncated_coco_file_is_reported_with_its_position(tmp_path: Path) -> None:
    file = coco(tmp_path, **annotations({"category_id": 4}))
    file.write_text(file.read_text()[:-1])
    assert [kind for _, kind, _ in found(file, tmp_path)] == ["broken-json", "label-unknown"]
    file.write_text('{"images": []}')
    with pytest.raises(InputError, match="there is no image"):
        found(file, tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["annotations", "categories", "image", "annotation"]), json_values)
def test_any_value_in_a_coco_file_is_borne(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    changes = {key: value} if key.endswith("s") else annotations({"bbox": value}) if key == "annotation" else {}
    file = coco(tmp_path_factory.getbasetemp(), **changes)
    if key == "image":
        content = json.loads(file.read_text())
        content["images"].append(value)
        file.write_text(json.dumps(content))
    list(check_dataset(str(file)))
