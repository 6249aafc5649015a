"""One reader per format: `check`, `convert` and `read_dataset` accept, and refuse, the same datasets."""

import codecs
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.dataset_formats import DatasetFormat, ImageHandling
from beeagent_models.datasets.convert import convert
from beeagent_models.datasets.reading import check_dataset, open_dataset, parse_source, read_dataset
from beeagent_models.datasets.split import split_manifest
from beeagent_models.show import show_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 5, 4, tzinfo=timezone.utc)
ROW = "0 0.5 0.5 0.5 0.25"
METADATA = {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"}


def image_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((80, 120, 3), np.uint8))


def yolo(folder: Path, *, rows: str | bytes | None = ROW, data: str | bytes = "names: [bee]\n") -> Path:
    image_file(folder / "images" / "a.png")
    (folder / "labels").mkdir(exist_ok=True)
    for file, content in (("labels/a.txt", rows), ("data.yaml", data)):
        if content is not None:
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def line(source: str = "a.png", **changes: object) -> dict[str, Any]:
    box = {"class_id": 0, "left": 10, "top": 20, "width": 30, "height": 40}
    content = {"image_size": [{"width": 120, "height": 80, "depth": 3}], "annotations": [box]}
    return {"source-ref": source, "bees": content, "bees-metadata": METADATA, **changes}


def manifest(folder: Path, *lines: dict[str, Any]) -> Path:
    image_file(folder / "a.png")
    (folder / "output.manifest").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder / "output.manifest"


def coco(folder: Path, **changes: object) -> Path:
    image_file(folder / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 120, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}],
        "categories": [{"id": 1, "name": "bee"}],
        **changes,
    }
    file = folder / "coco.json"
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return file


def converted(
    data: str | Path, out: Path, *, form: DatasetFormat = DatasetFormat.COCO, attribute: str | None = None
) -> dict[str, Any]:
    path, labels = parse_source(str(data))
    source = open_dataset(path, labels=labels, attribute=attribute)
    done = convert(
        source, out, to=form, images=ImageHandling.COPY, clip=True, attribute="bees", created_at=NOW, progress=None
    )
    return {**(json.loads(done.path.read_text()) if form is DatasetFormat.COCO else {}), "changes": done.changes}


def refused(data: str | Path, tmp_path: Path) -> list[str]:
    """Assert that check names defects where the readers refuse, and return the lines."""
    path, labels = parse_source(str(data))
    defects = list(check_dataset(str(data)))
    with pytest.raises(InputError) as read:
        read_dataset(path, labels=labels)
    with pytest.raises(InputError):
        converted(data, tmp_path / "out")
    assert "\n" not in str(read.value)
    # The reader stops at one of the defects that check names, in the same words.
    assert str(read.value) in {str(defect.error()) for defect in defects}
    return [str(defect) for defect in defects]


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "COCO without annotations": (lambda at: coco(at, annotations=None), "annotations: missing"),
    "COCO without categories": (lambda at: coco(at, categories=None), "categories: missing"),
    "COCO with no category": (lambda at: coco(at, categories=[], annotations=[]), "there is no category"),
    "COCO with a name twice": (
        lambda at: coco(at, categories=[{"id": 0, "name": "bee"}, {"id": 1, "name": "bee"}]),
        "category 0 and category 1 both have the name 'bee'",
    ),
    "COCO with an empty name": (
        lambda at: coco(at, categories=[{"id": 1, "name": "bee"}, {"id": 2, "name": " "}]),
        "category 2 has an empty name",
    ),
    "COCO with half a character for a name": (
        lambda at: coco(at, categories=[{"id": 1, "name": "\ud800"}]),
        "category 1 has a non-Unicode name",
    ),
    "COCO with half a character for a file name": (
        lambda at: coco(at, images=[{"id": 1, "file_name": "\ud800.png", "width": 120, "height": 80}]),
        "file_name is not Unicode text",
    ),
    "manifest with half a character for a name": (
        lambda at: manifest(at, line(**{"bees-metadata": {**METADATA, "class-map": {"0": "\ud800"}}})),
        "class_id 0 has a non-Unicode name",
    ),
    "COCO with an empty file name": (
        lambda at: coco(at, images=[{"id": 1, "file_name": "", "width": 120, "height": 80}]),
        "file_name is empty",
    ),
    "COCO with one file for two images": (
        lambda at: coco(
            at,
            images=[
                {"id": 1, "file_name": "a.png", "width": 120, "height": 80},
                {"id": 2, "file_name": "./a.png", "width": 120, "height": 80},
            ],
        ),
        "already listed at",
    ),
    "manifest that names no class": (
        lambda at: manifest(
            at,
            line(
                bees={"image_size": [{"width": 120, "height": 80}], "annotations": []},
                **{"bees-metadata": {**METADATA, "class-map": {}}},
            ),
        ),
        "no line has a class-map with a class",
    ),
    "manifest with an empty name": (
        lambda at: manifest(at, line(**{"bees-metadata": {**METADATA, "class-map": {"0": ""}}})),
        "class_id 0 has an empty name",
    ),
    "manifest with a name twice": (
        lambda at: manifest(at, line(**{"bees-metadata": {**METADATA, "class-map": {"0": "bee", "1": "bee"}}})),
        "class_id 0 and class_id 1 both have the name 'bee'",
    ),
    "manifest with one file for two images": (
        lambda at: manifest(at, line("s3://bucket/x/a.png"), line("s3://bucket/y/a.png")),
        "is the image .* already listed",
    ),
    "manifest with a line twice": (lambda at: manifest(at, line(), line()), "is already listed"),
    "YOLO without label files": (lambda at: yolo(at, rows=None), "no image has a label file"),
    "YOLO with a name twice": (lambda at: yolo(at, data="names: [bee, bee]"), "class 0 and class 1 both have the name"),
    "YOLO with an empty name": (lambda at: yolo(at, data='names: [bee, ""]'), "class 1 has an empty name"),
    "YOLO with a fraction for a class": (lambda at: yolo(at, rows="0.5 0.5 0.5 0.5 0.5"), "must be a whole number"),
    "YOLO with key points that kpt_shape does not have": (
        lambda at: yolo(at, rows=f"{ROW} 0.5 0.5", data="kpt_shape: [2, 2]\nnames: [bee]"),
        "has 7 fields; kpt_shape in data.yaml says 9",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_reports_everything_that_readers_refuse(tmp_path: Path, case: str) -> None:
    make, message = CASES[case]
    (tmp_path / "set").mkdir()
    defects = refused(make(tmp_path / "set"), tmp_path)
    assert any(re.search(message, defect) for defect in defects), defects


def test_two_images_with_one_label_file_are_refused(tmp_path: Path) -> None:
    image_file(yolo(tmp_path / "set") / "images" / "a.jpg")
    assert any("has the same label file as" in defect for defect in refused(tmp_path / "set", tmp_path))


def test_label_files_with_other_suffixes_are_reported(tmp_path: Path) -> None:
    (yolo(tmp_path / "set") / "labels" / "a.txt").rename(tmp_path / "set" / "labels" / "a.TXT")
    assert any("a.TXT: broken-line: is ignored" in defect for defect in refused(tmp_path / "set", tmp_path))


@pytest.mark.parametrize("suffix", [".avif", ".gif", ".heic", ".xyz"])
def test_labelled_images_of_unsupported_format_are_reported(tmp_path: Path, suffix: str) -> None:
    folder = yolo(tmp_path / "set")
    (folder / "images" / f"g{suffix}").write_bytes(b"whatever it is")
    (folder / "labels" / "g.txt").write_text(ROW)
    (defect,) = refused(folder, tmp_path)
    assert f"images/g{suffix}: bad-image: the format {suffix} is not supported" in defect


def test_key_points_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = f"{ROW} 0.1 0.1 0.9 0.9\n{ROW.replace('0.5 0.5', '0.4 0.5', 1)}\n"
    folder = yolo(tmp_path / "set", rows=rows, data="kpt_shape: [2, 2]\nnames: [bee]\n")
    content = converted(folder, tmp_path / "out")
    assert [each["bbox"] for each in content["annotations"]] == [[30, 30, 60, 20], [18, 30, 60, 20]]
    assert content["changes"] == {"boxes whose key points were left out": 1}
    assert list(check_dataset(str(folder))) == []


def test_without_kpt_shape_the_same_row_is_an_outline(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", rows="0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75")
    content = converted(folder, tmp_path / "out")
    assert content["annotations"][0]["bbox"] == [30, 20, 60, 40]
    assert content["changes"] == {"outlines, replaced by their bounding boxes": 1}


@pytest.mark.parametrize("shape", ["[2]", "[2, 4]", "[x, 2]", "17", "{a: 1}", "[-1, 2]"])
def test_invalid_kpt_shape_is_refused(tmp_path: Path, shape: str) -> None:
    with pytest.raises(InputError, match=r"data\.yaml: 'kpt_shape' must be"):
        read_dataset(yolo(tmp_path, data=f"kpt_shape: {shape}\nnames: [bee]\n"))


@pytest.mark.parametrize("layout", ["images/val", "val/images"])
@pytest.mark.parametrize("labels", [("bee",), None])
def test_data_yaml_above_a_split_applies_to_its_rows(
    tmp_path: Path, layout: str, labels: tuple[str, ...] | None
) -> None:
    split = tmp_path / layout
    image_file(split / "a.png")
    label = tmp_path / layout.replace("images", "labels") / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(f"{ROW} 0.1 0.1 0.9 0.9")
    image_file(tmp_path / "images" / "train" / "b.png")
    (tmp_path / "data.yaml").write_text("kpt_shape: [2, 2]\ntrain: images/train\nnames: [bee]\n")
    (image,) = read_dataset(split, labels=labels).images
    assert image.boxes.tolist() == [[30, 30, 90, 50]]


def test_yaml_file_of_any_name_locates_the_folders(tmp_path: Path) -> None:
    yolo(tmp_path / "bees", data=None)
    image_file(tmp_path / "configs" / "images" / "unrelated.png")
    file = tmp_path / "configs" / "hive.yaml"
    file.write_text("path: ../bees\ntrain: images\nnames: [bee]\n")
    assert list(check_dataset(str(file))) == []
    (image,) = read_dataset(file).images
    assert image.path.samefile(tmp_path / "bees" / "images" / "a.png")
    assert len(converted(file, tmp_path / "out")["annotations"]) == 1


def test_label_option_replaces_invalid_names(tmp_path: Path) -> None:
    folder = yolo(tmp_path, data="names: 3\n")
    assert read_dataset(folder, labels=("bee",)).labels == ("bee",)
    with pytest.raises(InputError, match=r"data\.yaml: 'names' must list the classes, .* it is 3"):
        read_dataset(folder)


def test_unlisted_label_is_refused_by_every_command(tmp_path: Path) -> None:
    for make in (coco, lambda at: manifest(at, line())):
        file = make(tmp_path)
        with pytest.raises(InputError, match="label 'bee' is not one of wasp"):
            read_dataset(file, labels=("wasp",))
        with pytest.raises(InputError, match="label 'bee' is not one of wasp"):
            show_dataset(open_dataset(file, labels=("wasp",)), folder=tmp_path / "drawn", sheet=None, limit=0)
        assert [defect.kind.value for defect in check_dataset(f"{file}=wasp")] == ["label-unknown"]


def test_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = yolo(tmp_path) / "images" / "closed"
    closed.mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:  # noqa: ANN401 - as os.scandir; root may read any folder
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="closed: cannot be read: Permission denied"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[no, yes]", ("no", "yes")),
        ("{0: off, 1: on}", ("off", "on")),
        ('{"0": bee, "1": wasp}', ("bee", "wasp")),
        ("[007, 1_000]", ("007", "1_000")),
        ("[1e3, 0x10]", ("1e3", "0x10")),
        ('["null", "~"]', ("null", "~")),
        ("[2026-05-04, 12:30:00]", ("2026-05-04", "12:30:00")),
        ("[\"bee \", 'it''s']", ("bee ", "it's")),
    ],
)
def test_class_names_are_literal(tmp_path: Path, names: str, expected: tuple[str, ...]) -> None:
    assert read_dataset(yolo(tmp_path, data=f"names: {names}\n")).labels == expected


@pytest.mark.parametrize("names", ["[bee, null]", "[bee, ~]", "{0: bee, 1: }", "[bee, Null]"])
def test_a_name_that_is_null_is_refused_with_the_way_out(tmp_path: Path, names: str) -> None:
    with pytest.raises(InputError, match=r"data\.yaml: the name of class 1 is .* quote it"):
        read_dataset(yolo(tmp_path, data=f"names: {names}\n"))


@pytest.mark.parametrize("number", ["0", "0.0", "0.000000000000000000e+00", "+0", "0e5", "00"])
def test_a_class_number_may_be_in_any_notation(tmp_path: Path, number: str) -> None:
    folder = yolo(tmp_path, rows=f"{number} 0.5 0.5 5e-1 .25")
    assert list(check_dataset(str(folder))) == []
    assert read_dataset(folder).images[0].boxes.tolist() == [[30, 30, 90, 50]]


@pytest.mark.parametrize("number", ["0.5", "nan", "inf", "-inf", "1e-9"])
def test_a_class_number_that_is_not_whole_is_refused(tmp_path: Path, number: str) -> None:
    with pytest.raises(InputError, match=rf"a\.txt:1: '{number}' is not a class number: it must be a whole number"):
        read_dataset(yolo(tmp_path, rows=f"{number} 0.5 0.5 0.5 0.5"))


ROBOFLOW = [
    {"id": 0, "name": "insects", "supercategory": "none"},
    {"id": 1, "name": "bee", "supercategory": "insects"},
    {"id": 2, "name": "wasp", "supercategory": "insects"},
]


def test_supercategory_is_no_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = coco(tmp_path, categories=ROBOFLOW)
    with caplog.at_level(logging.WARNING):
        assert read_dataset(file).labels == ("bee", "wasp")
    assert "categories left out: they have no box and are the supercategory of others: 1" in caplog.text
    assert list(check_dataset(str(file), labels="bee,wasp")) == []
    assert [each["name"] for each in converted(file, tmp_path / "out")["categories"]] == ["bee", "wasp"]


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        # With a box of its own, it is a class.
        ([{"id": 1, "name": "insect"}, {"id": 2, "name": "bee", "supercategory": "insect"}], ("insect", "bee")),
        # The word 'none' says nothing by itself.
        ([{"id": 1, "name": "bee", "supercategory": "none"}, {"id": 2, "name": "wasp", "supercategory": "none"}],
         ("bee", "wasp")),
        ([{"id": 1, "name": "bee", "supercategory": "bee"}, {"id": 2, "name": "wasp", "supercategory": "wasp"}],
         ("bee", "wasp")),
        ([{"id": 1, "name": "bee", "supercategory": ""}, {"id": 2, "name": "wasp", "supercategory": None}],
         ("bee", "wasp")),
    ],
)  # fmt: skip
def test_other_categories_are_classes(
    tmp_path: Path, categories: list[dict[str, Any]], expected: tuple[str, ...]
) -> None:
    assert read_dataset(coco(tmp_path, categories=categories)).labels == expected


def test_the_folders_that_data_yaml_lists_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    yolo(tmp_path / "set", data="path: .\ntrain: images\nval: ../other/images\ntest: ../none/images\nnames: [bee]\n")
    image_file(tmp_path / "other" / "images" / "b.png")
    (tmp_path / "other" / "labels").mkdir()
    (tmp_path / "other" / "labels" / "b.txt").write_text(ROW)
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(tmp_path / "set")
    assert [image.path.name for image in dataset.images] == ["a.png", "b.png"]
    assert "test: ../none/images" in caplog.text
    content = converted(tmp_path / "set", tmp_path / "out")
    assert [each["file_name"] for each in content["images"]] == ["images/a.png", "images/other/b.png"]
    assert len(content["annotations"]) == 2


@pytest.mark.parametrize(
    "data",
    [
        "train: ../images\n",
        "path: /content/drive/bees\ntrain: images\n",
        "train: /content/drive/bees/images\nval:\n",
        "train: [images, images]\nval: images\n",
    ],
)
def test_folders_of_a_dataset_that_was_moved_are_found(
    tmp_path: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(yolo(tmp_path / "set", data=f"{data}names: [bee]\n"))
    assert len(dataset.images) == 1
    assert caplog.text == ""


def test_a_relative_reference_is_believed_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    image_file(tmp_path / "photos" / "a.png")
    file = manifest(tmp_path / "set", line("../photos/a.png"))
    assert read_dataset(file).images[0].path.samefile(tmp_path / "photos" / "a.png")
    assert list(check_dataset(str(file))) == []


def test_file_name_without_unicode_is_refused_only_by_convert(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set")
    name = os.fsdecode(b"\xff.png")
    (folder / "images" / "a.png").rename(folder / "images" / name)
    (folder / "labels" / "a.txt").rename(folder / "labels" / os.fsdecode(b"\xff.txt"))
    assert list(check_dataset(str(folder))) == []
    assert [image.path.name for image in read_dataset(folder).images] == [name]
    shutil.copy(folder / "images" / name, (folder / "images" / name).with_suffix(".jpg"))
    (defect,) = check_dataset(str(folder))
    assert r"\udcff.png: duplicate" in str(defect)
    str(defect).encode()
    (folder / "images" / name).with_suffix(".jpg").unlink()
    with pytest.raises(InputError, match="is not a usable image name"):
        converted(folder, tmp_path / "out")


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    yolo(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    for name in ("images", "labels", "data.yaml"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "images" / "loop").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "labels" / "loop").symlink_to(tmp_path / "elsewhere" / "labels")
    assert list(check_dataset(str(tmp_path / "elsewhere"))) == []
    assert len(read_dataset(tmp_path / "elsewhere").images) == 1


@pytest.mark.parametrize("form", ["manifest", "manifest.json", "coco", "yolo rows", "yolo names"])
def test_byte_order_mark_is_ignored(tmp_path: Path, form: str) -> None:
    if form.startswith("yolo"):
        mark = codecs.BOM_UTF8
        data: Path = yolo(
            tmp_path,
            rows=mark + ROW.encode() if form == "yolo rows" else ROW,
            data=mark + b"names: [bee]\n" if form == "yolo names" else "names: [bee]\n",
        )
    else:
        data = coco(tmp_path) if form == "coco" else manifest(tmp_path, line())
        if form == "manifest.json":
            data = data.rename(tmp_path / "output.json")
        data.write_bytes(codecs.BOM_UTF8 + data.read_bytes())
    assert list(check_dataset(str(data))) == []
    dataset = read_dataset(data)
    assert dataset.labels == ("bee",)
    assert len(dataset.images[0].boxes) == 1


def test_split_drops_byte_order_marks_of_a_manifest(tmp_path: Path) -> None:
    file = manifest(tmp_path, *(line(f"{series}-1.png") for series in "abcd"))
    marked = b"".join(codecs.BOM_UTF8 + each for each in file.read_bytes().splitlines(keepends=True))
    file.write_bytes(marked + codecs.BOM_UTF8 + b"\n")
    for part in split_manifest(file, out=tmp_path / "parts", fraction=0.5, seed=0, by_series=True):
        assert part.images == 2
        assert codecs.BOM_UTF8 not in part.manifest.read_bytes()


rows = st.lists(
    st.sampled_from(["0", "1", "0.0", "x", "nan", "0.5"]).flatmap(
        lambda number: st.lists(st.sampled_from(["0.5", "0.25", "0", "-0.1", "1.5", "nan", "y"]), max_size=9).map(
            lambda values: " ".join([number, *values])
        )
    ),
    max_size=3,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
yamls = st.sampled_from(
    ["names: [bee]", "names: [bee, bee]", "names: [bee, no]", "names: {0: bee, 1: }", "kpt_shape: [1, 2]\nnames: [bee]"]
)


def agree(data: Path, out: Path) -> None:
    """Nothing passes check that a reader or convert refuses, and nothing that check names is a traceback."""
    try:
        defects = list(check_dataset(str(data)))
    except InputError:
        with pytest.raises(InputError):
            read_dataset(data)
        return
    if not defects:
        assert read_dataset(data).images
        converted(data, out)
    else:
        # Readers clip what reaches out and bear a box twice; all else they refuse.
        borne = {"box-outside", "duplicate"}
        if {defect.kind.value for defect in defects} - borne:
            with pytest.raises(InputError):
                read_dataset(data)


@settings(max_examples=60, deadline=None)
@given(rows, yamls)
def test_check_and_readers_agree_on_any_yolo_folder(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: str
) -> None:
    at = tmp_path_factory.mktemp("agree")
    agree(yolo(at / "set", rows="\n".join(lines), data=data), at / "out")
    shutil.rmtree(at)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["images", "annotations", "categories", "image", "annotation", "category"]),
    st.sampled_from(
        ["id", "file_name", "width", "category_id", "image_id", "bbox", "iscrowd", "name", "supercategory"]
    ),
    json_values,
)
def test_check_and_readers_agree_on_any_coco_file(
    tmp_path_factory: pytest.TempPathFactory, part: str, key: str, value: object
) -> None:
    at = tmp_path_factory.mktemp("agree")
    (at / "set").mkdir()
    file = coco(at / "set")
    content = json.loads(file.read_text())
    if part.endswith("s"):
        content[part] = value
    else:
        name = {"image": "images", "annotation": "annotations", "category": "categories"}[part]
        content[name][0][key] = value
    file.write_text(json.dumps(content))
    agree(file, at / "out")
    shutil.rmtree(at)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["source-ref", "bees", "bees-metadata", "image_size", "annotations", "class-map", "left", "0"]),
    json_values,
)
def test_check_and_readers_agree_on_any_manifest(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    at = tmp_path_factory.mktemp("agree")
    (at / "set").mkdir()
    content = json.loads(json.dumps(line()))
    targets = {
        "image_size": content["bees"],
        "annotations": content["bees"],
        "class-map": content["bees-metadata"],
        "left": content["bees"]["annotations"][0],
        "0": content["bees-metadata"]["class-map"],
    }
    targets.get(key, content)[key] = value
    agree(manifest(at / "set", content), at / "out")
    shutil.rmtree(at)
