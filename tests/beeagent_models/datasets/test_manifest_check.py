import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.defects import DefectKind
from beeagent_models.datasets.reading import check_dataset
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_file

BOX = {"class_id": 0, "left": 10, "top": 20, "width": 30, "height": 40}


def row(source: str = "s3://bucket/a.png", *boxes: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {
        "source-ref": source,
        "bees": {"image_size": [{"width": 120, "height": 80, "depth": 3}], "annotations": list(boxes or (BOX,))},
        "bees-metadata": {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"},
        **changes,
    }


def write(folder: Path, *rows: dict[str, Any] | str | bytes) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        assert cv2.imwrite(str(folder / name), np.zeros((80, 120, 3), np.uint8))
    lines = [line if isinstance(line, (str, bytes)) else json.dumps(line) for line in rows]
    manifest = folder / "output.manifest"
    manifest.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n")
    return manifest


def found(
    manifest: Path, *, labels: str | None = None, attribute: str | None = None, images: bool = True
) -> list[tuple[int, str, str]]:
    """Return line, kind and words of each defect."""
    defects = list(check_dataset(str(manifest), labels=labels, attribute=attribute, images=images))
    for defect in defects:
        assert str(defect) == f"{defect.where}: {defect.kind.value}: {defect.what}"
        assert "\n" not in str(defect)
    return [
        (int(defect.where.removeprefix(f"{manifest}").removeprefix(":") or 0), defect.kind.value, defect.what)
        for defect in defects
    ]


def size(width: object, height: object) -> dict[str, Any]:
    return {"image_size": [{"width": width, "height": height}], "annotations": []}


@pytest.mark.parametrize(
    ("line", "kind", "what"),
    [
        ('{"source-ref": ', "broken-json", "Expecting value"),
        ("[" * 100_000, "broken-json", "recursion"),
        (b'{"source-ref": "\xff"}', "broken-json", "not UTF-8"),
        ("[]", "broken-line", "not a JSON object"),
        (row(source=""), "broken-line", "no 'source-ref'"),
        (row("s3://bucket/none.png"), "missing-image", r"s3://bucket/none\.png is missing: searched "),
        (row("s3://bucket/" + "n" * 5000), "missing-image", "is missing"),
        (row("s3://bucket/output.manifest"), "bad-image", "is not an image"),
        ({"source-ref": "b.png"}, "broken-line", "no label attribute"),
        (row("b.png", bees=[]), "broken-line", "bees: is missing, or not a JSON object"),
        (row("b.png", bees={"annotations": []}), "broken-line", "bees.image_size: must be a list of one size"),
        (row("b.png", bees=size("wide", 80)), "broken-line", "bees.image_size.width: "),
        (row("b.png", bees=size(0, 80)), "size-wrong", "size of the image is 0x80"),
        (row("b.png", bees=size(121, 80)), "size-wrong", "is 120x80, not 121x80"),
        (
            row("b.png", bees={"image_size": [{"width": 120, "height": 80}]}),
            "broken-line",
            "annotations: must be a list",
        ),
        (row("b.png", {**BOX, "left": None}), "broken-line", r"bees.annotations.0.left: "),
        (
            row("b.png", {**BOX, "class_id": 4}),
            "label-unknown",
            r"class_id 4 of box 1 is not .* \(known: 0\)",
        ),
        (row("b.png", {**BOX, "width": 0}), "box-empty", r"box 1, from \(10, 20\) to \(10, 60\), has no area"),
        (row("b.png", {**BOX, "left": float("nan")}), "box-empty", "no area"),
        (row("b.png", {**BOX, "left": 91}), "box-outside", r"to \(121, 60\), extends beyond the image of 120x80"),
        (row("b.png", {**BOX, "top": -1}), "box-outside", "extends beyond"),
        (row("b.png", BOX, BOX), "duplicate", r"box 2, .* is the same as box 1"),
        (row("s3://bucket/a.png"), "duplicate", r"s3://bucket/a\.png is already listed at .*manifest:1"),
        (row("a.png"), "duplicate", r"a\.png is the image .*, which is already listed at .*manifest:1"),
        (
            row("b.png", **{"bees-metadata": {"class-map": {"0": "wasp"}, "type": "groundtruth/object-detection"}}),
            "label-unknown",
            "class_id 0 is 'wasp' here and 'bee' at .*manifest:1",
        ),
        (
            row("b.png", **{"bees-metadata": {"type": "groundtruth/object-detection"}}),
            "broken-line",
            "bees-metadata.class-map",
        ),
    ],
)
def test_a_defect_is_named_with_its_line_and_nothing_else_is(
    tmp_path: Path, line: dict[str, Any] | str | bytes, kind: str, what: str
) -> None:
    ((number, found_kind, words),) = found(write(tmp_path, row(), "", line, row("c.png")))
    assert (number, found_kind) == (3, kind)
    assert re.search(what, words), words


def test_all_defects_of_a_line_are_named(tmp_path: Path) -> None:
    boxes = ({**BOX, "left": 500}, {**BOX, "class_id": 7}, {**BOX, "height": "x"}, {**BOX, "height": -1}, BOX, BOX)
    manifest = write(tmp_path, row("none.png", *boxes), "{", row("a.png", bees=size(1, 2)))
    assert [(number, kind) for number, kind, _ in found(manifest)] == [
        (1, "label-unknown"),
        (1, "broken-line"),
        (1, "missing-image"),
        (1, "box-outside"),
        (1, "box-empty"),
        (1, "duplicate"),
        (2, "broken-json"),
        (3, "size-wrong"),
    ]


def test_allowed_labels_can_be_set(tmp_path: Path) -> None:
    assert found(write(tmp_path, row()), labels="bee") == []
    assert found(write(tmp_path, row()), labels="wasp") == [(1, "label-unknown", "label 'bee' is not one of wasp")]


def test_images_can_be_left_out(tmp_path: Path) -> None:
    assert found(write(tmp_path, row("none.png")), images=False) == []


def test_one_of_several_attributes_can_be_named(tmp_path: Path) -> None:
    two = row(ants={"image_size": []}, **{"ants-metadata": {"type": "groundtruth/object-detection", "class-map": {}}})
    manifest = write(tmp_path, two)
    assert "several label attributes (bees, ants)" in found(manifest)[0][2]
    assert found(manifest, attribute="bees") == []
    assert len(found(manifest, attribute="ants")) == 3


def test_a_manifest_without_lines_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the manifest is empty"):
        found(write(tmp_path, "", "  "))
    with pytest.raises(InputError, match="there is no such file or folder"):
        found(tmp_path / "none.manifest")


@pytest.mark.parametrize("name", ["ramp", "hive"])
def test_the_photographs_have_no_defect(name: str) -> None:
    assert found(shared_file(f"{name}/output.manifest")) == []


def test_many_lines_take_no_more_memory_than_few(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        manifest = tmp_path / f"{lines}.manifest"
        with manifest.open("w") as file:
            file.writelines(json.dumps(row(f"s3://bucket/{number:09}.jpg")) + "\n" for number in range(lines))
        tracemalloc.start()
        try:
            assert not any(True for _ in check_dataset(str(manifest), images=False))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    # What is kept for each line would be a string of 30 characters at the least: 400,000 bytes for five thousand.
    assert peak(5_000) - peak(100) < 100_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["source-ref", "bees", "bees-metadata", "annotations", "image_size", "class-map", "box"]),
    json_values,
)
def test_any_value_in_place_of_a_part_is_borne(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    content = row()
    target = {"annotations": content["bees"], "image_size": content["bees"], "class-map": content["bees-metadata"]}
    if key == "box":
        content["bees"]["annotations"] = [value]
    else:
        target.get(key, content)[key] = value
    manifest = tmp_path_factory.getbasetemp() / "any.manifest"
    manifest.write_text(json.dumps(content))
    for defect in check_dataset(str(manifest)):
        assert isinstance(defect.kind, DefectKind)


@given(st.binary())
def test_any_bytes_are_borne(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    manifest = tmp_path_factory.getbasetemp() / "bytes.manifest"
    manifest.write_bytes(b"{}\n" + content)
    assert list(check_dataset(str(manifest)))
