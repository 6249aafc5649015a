import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.dataset_formats import DatasetFormat, ImageHandling
from beeagent_models.datasets.convert import Converted, convert
from beeagent_models.datasets.image_files import decode_image
from beeagent_models.datasets.reading import open_dataset, read_dataset
from beeagent_models.datasets.records import ImageRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shared_data import shared_file

Box = tuple[float, float, float, float]
NOW = datetime(2026, 5, 4, tzinfo=timezone.utc)


@dataclass
class Drawn:
    """An invented dataset; its images are written when they are needed."""

    folder: Path
    labels: tuple[str, ...]
    rows: tuple[ImageRecord, ...]
    left_out: dict[str, int]

    def records(self) -> tuple[ImageRecord, ...]:
        return self.rows

    def find(self, record: ImageRecord) -> Path:
        path = self.folder / f"{[row.name for row in self.rows].index(record.name)}.png"
        if not path.exists():
            width, height = record.known_size
            assert cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
        return path


def record(name: str, size: tuple[int, int], *boxes: Box, labels: tuple[str, ...] | None = None) -> ImageRecord:
    return ImageRecord(
        where=f"drawn:{name}", reference=name, name=name, size=size, boxes=boxes, labels=labels or ("bee",) * len(boxes)
    )


def run(
    source: object, folder: Path, form: DatasetFormat, *, images: ImageHandling = ImageHandling.COPY, clip: bool = False
) -> Converted:
    return convert(
        source,  # type: ignore[arg-type]
        folder,
        to=form,
        images=images,
        clip=clip,
        attribute="bees",
        created_at=NOW,
    )


def read_boxes(folder: Path, form: DatasetFormat) -> list[tuple[str, tuple[int, int], list[tuple[str, Box]]]]:
    """Return name, size, and labelled boxes of each image in a folder, by name."""
    path = (
        folder
        / {DatasetFormat.GROUND_TRUTH: "output.manifest", DatasetFormat.COCO: "coco.json", DatasetFormat.YOLO: "."}[
            form
        ]
    )
    source = open_dataset(path)
    each = (upright(source.find, stated) for stated in source.records())
    return sorted((one.name, one.known_size, list(zip(one.labels, one.boxes, strict=True))) for one in each)


def upright(find: Callable[[ImageRecord], Path], stated: ImageRecord) -> ImageRecord:
    """Return an image with its size and its boxes in pixels."""
    if stated.size is not None:
        return stated
    height, width = decode_image(find(stated)).shape[:2]
    return stated.sized((width, height))


def boxes_in(size: tuple[int, int]) -> st.SearchStrategy[Box]:
    def edges(side: int) -> st.SearchStrategy[list[int]]:
        return st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True).map(sorted)

    return st.tuples(edges(size[0]), edges(size[1])).map(
        lambda pair: (float(pair[0][0]), float(pair[1][0]), float(pair[0][1]), float(pair[1][1]))
    )


labels = st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=3, unique=True)
sizes = st.tuples(st.integers(1, 9000), st.integers(1, 60)) | st.tuples(st.integers(1, 60), st.integers(1, 9000))
names = st.lists(
    st.text("abcé ü#%?-_1", min_size=1, max_size=8).filter(lambda name: name.strip() == name),
    min_size=1,
    max_size=3,
    unique=True,
)


@st.composite
def sets(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[ImageRecord, ...]]:
    classes = tuple(draw(labels))
    rows = []
    for name in draw(names):
        size = draw(sizes)
        boxes = tuple(draw(st.lists(boxes_in(size), max_size=4)))
        kinds = tuple(draw(st.sampled_from(classes)) for _ in boxes)
        folder = draw(st.sampled_from(["", "ramp/", "a/images/"]))
        rows.append(record(f"{folder}{name}.png", size, *boxes, labels=kinds))
    return classes, tuple(rows)


@settings(max_examples=20, deadline=None)
@given(sets(), st.permutations(list(DatasetFormat)))
def test_nothing_is_lost_on_the_way_through_all_forms(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[tuple[str, ...], tuple[ImageRecord, ...]],
    forms: list[DatasetFormat],
) -> None:
    folder = tmp_path_factory.mktemp("convert")
    classes, rows = drawn
    expected = sorted((row.name, row.size, list(zip(row.labels, row.boxes, strict=True))) for row in rows)
    source: object = Drawn(folder, classes, rows, {})
    try:
        for step, form in enumerate([*forms, forms[0]]):
            out = folder / str(step)
            done = run(source, out, form, images=ImageHandling.LINK)
            assert (done.images, done.boxes, done.changes) == (len(rows), sum(len(row.boxes) for row in rows), {})
            assert read_boxes(out, form) == expected
            source = open_dataset(done.path)
            assert source.labels == classes
    finally:
        shutil.rmtree(folder)


fractions = st.floats(0, 50).map(lambda value: round(value, 3))


@pytest.mark.parametrize("label", ["0\x85", "a\u2028b", "bee\u00a0", "Bienenkönigin"])
def test_a_label_with_characters_that_cannot_be_seen_stays_as_it_is(label: str, tmp_path: Path) -> None:
    """Regression: a next-line character in a label became a space in YOLO's data.yaml."""
    row = record("a.png", (10, 10), (1, 1, 5, 5), labels=(label,))
    run(Drawn(tmp_path, (label,), (row,), {}), tmp_path / "yolo", DatasetFormat.YOLO)
    assert read_boxes(tmp_path / "yolo", DatasetFormat.YOLO) == [("a.png", (10, 10), [(label, (1, 1, 5, 5))])]


@settings(max_examples=20, deadline=None)
@given(fractions, fractions, fractions, fractions)
def test_fractions_of_pixels_come_through_coco_and_yolo(
    tmp_path_factory: pytest.TempPathFactory, left: float, top: float, width: float, height: float
) -> None:
    folder = tmp_path_factory.mktemp("fractions")
    box = (left, top, left + width + 1, top + height + 1)
    source: object = Drawn(folder, ("bee",), (record("a.png", (110, 107), box),), {})
    for step, form in enumerate((DatasetFormat.COCO, DatasetFormat.YOLO, DatasetFormat.COCO)):
        source = open_dataset(run(source, folder / str(step), form).path)
    ((_, _, ((_, found),)),) = read_boxes(folder / "2", DatasetFormat.COCO)
    assert found == pytest.approx(box, abs=3e-6)
    done = run(source, folder / "whole", DatasetFormat.GROUND_TRUTH)
    rounded = sum(not edge.is_integer() for edge in found) > 0
    assert done.changes == ({"boxes rounded to whole pixels": 1} if rounded else {})
    shutil.rmtree(folder)


@pytest.mark.parametrize("form", list(DatasetFormat))
def test_converted_dataset_is_readable(tmp_path: Path, form: DatasetFormat) -> None:
    rows = (record("b/1.png", (40, 30), (1, 2, 11, 12)), record("a/1.png", (40, 30)))
    done = run(Drawn(tmp_path, ("wasp", "bee"), rows, {"crowds": 2}), tmp_path / "out", form)
    assert done.changes == {"crowds": 2}
    dataset = read_dataset(done.path)
    assert dataset.labels == ("wasp", "bee")
    images = {image.path.relative_to(tmp_path / "out").as_posix(): image for image in dataset.images}
    assert set(images) == {"images/a/1.png", "images/b/1.png"}
    assert images["images/b/1.png"].boxes.tolist() == [[1, 2, 11, 12]]
    assert images["images/b/1.png"].class_ids.tolist() == [1]
    assert not images["images/b/1.png"].path.is_symlink()


def test_coco_file_has_the_fields_that_other_tools_require(tmp_path: Path) -> None:
    source = Drawn(tmp_path, ("bee",), (record("a.png", (40, 30), (1, 2, 11, 12.5)),), {})
    done = run(source, tmp_path / "out", DatasetFormat.COCO)
    content = json.loads(done.path.read_text())
    assert content["images"] == [{"id": 1, "file_name": "images/a.png", "width": 40, "height": 30}]
    (annotation,) = content["annotations"]
    assert annotation == {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10.5], "area": 105, "iscrowd": 0
    }  # fmt: skip
    assert content["categories"] == [{"id": 1, "name": "bee"}]


def test_images_are_not_needed_without_copying(tmp_path: Path) -> None:
    manifest = tmp_path / "m.manifest"
    manifest.write_text(
        json.dumps(
            {
                "source-ref": "s3://bucket/deep/none.jpg",
                "bees": {
                    "image_size": [{"width": 40, "height": 30}],
                    "annotations": [{"class_id": 3, "left": 1, "top": 2, "width": 3, "height": 4}],
                },
                "bees-metadata": {"class-map": {"3": "bee"}, "type": "groundtruth/object-detection"},
            }
        )
    )
    for form in DatasetFormat:
        run(open_dataset(manifest), tmp_path / form.value, form, images=ImageHandling.NONE)
        assert not list((tmp_path / form.value).rglob("*.jpg"))
    assert read_boxes(tmp_path / "coco", DatasetFormat.COCO) == [("deep/none.jpg", (40, 30), [("bee", (1, 2, 4, 6))])]
    with pytest.raises(InputError, match=r"m\.manifest:1: the image s3://bucket/deep/none\.jpg is missing"):
        run(open_dataset(manifest), tmp_path / "with", DatasetFormat.COCO)
    assert not (tmp_path / "with").exists()


def test_boxes_that_reach_out_are_refused_or_cut_and_counted(tmp_path: Path) -> None:
    rows = (record("a.png", (40, 30), (-5, -5, 10, 10), (50, 5, 60, 10), (1, 1, 40.4, 30)),)
    source = Drawn(tmp_path, ("bee",), rows, {})
    with pytest.raises(InputError, match=r"drawn:a\.png: the box from \(-5, -5\) to \(10, 10\) reaches beyond"):
        run(source, tmp_path / "out", DatasetFormat.COCO)
    done = run(source, tmp_path / "out", DatasetFormat.COCO, clip=True)
    assert done.changes == {
        "boxes clipped to their image": 1,
        "boxes left out: outside of their image": 1,
    }
    assert read_boxes(tmp_path / "out", DatasetFormat.COCO)[0][2] == [("bee", (0, 0, 10, 10)), ("bee", (1, 1, 40, 30))]


@pytest.mark.parametrize(
    ("form", "rows", "message"),
    [
        (DatasetFormat.COCO, [record("a.png", (4, 3), (1, 1, 1, 2))], r"to \(1, 2\) has no area"),
        (DatasetFormat.COCO, [record("a.png", (4, 3), (1, 1, float("nan"), 2))], "has no area"),
        (
            DatasetFormat.COCO,
            [record("a.png", (4, 3), (1, 1, 2, 2), labels=("ant",))],
            "label 'ant' is not one of bee",
        ),
        (
            DatasetFormat.COCO,
            [record("a.png", (4, 3))] * 2,
            r"a\.png would overwrite the image at drawn:a\.png",
        ),
        (
            DatasetFormat.YOLO,
            [record("a.png", (4, 3)), record("a.jpg", (4, 3))],
            r"a\.jpg and an earlier image differ only in their suffixes",
        ),
        (DatasetFormat.YOLO, [record("a.gif", (4, 3))], r"YOLO does not support images such as a\.gif"),
        (DatasetFormat.COCO, [record("", (4, 3))], "is not a usable image name"),
        (DatasetFormat.COCO, [record("a\0.png", (4, 3))], "is not a usable image name"),
        (DatasetFormat.COCO, [], "there is no image in the dataset"),
    ],
)
def test_inexpressible_dataset_is_refused_and_leaves_no_files(
    tmp_path: Path, form: DatasetFormat, rows: list[ImageRecord], message: str
) -> None:
    (tmp_path / "drawn").mkdir()
    with pytest.raises(InputError, match=message):
        run(Drawn(tmp_path / "drawn", ("bee",), tuple(rows), {}), tmp_path / "out", form)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]


def test_a_wrong_size_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    source = Drawn(tmp_path, ("bee",), (record("a.png", (4, 3)),), {})
    source.find(source.rows[0])
    source.rows = (record("a.png", (5, 3)),)
    with pytest.raises(InputError, match=r"0\.png is 4x3, not 5x3 as stated"):
        run(source, tmp_path / "out", DatasetFormat.COCO)
    with pytest.raises(InputError, match="is not empty"):
        run(source, tmp_path, DatasetFormat.COCO)


def test_crowds_and_outlines_are_reported(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}
    content = {
        "annotations": [annotation, {**annotation, "iscrowd": 1}],
        "categories": [{"id": 1, "name": "bee"}],
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    done = run(open_dataset(tmp_path / "c.json"), tmp_path / "yolo", DatasetFormat.YOLO)
    assert done.changes == {"crowd regions left out: they are not boxes of single objects": 1}
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n")
    done = run(open_dataset(tmp_path / "yolo"), tmp_path / "gt", DatasetFormat.GROUND_TRUTH)
    assert done.changes["outlines, replaced by their bounding boxes"] == 1


def test_the_photographs_come_back_from_all_forms(tmp_path: Path) -> None:
    original = shared_file("ramp/output.manifest")
    source = open_dataset(original)
    before = sorted((each.name.rpartition("/")[2], each.size, each.boxes) for each in source.records())
    for form in (DatasetFormat.YOLO, DatasetFormat.COCO, DatasetFormat.GROUND_TRUTH):
        source = open_dataset(run(source, tmp_path / form.value, form, images=ImageHandling.LINK).path)
    after = sorted((each.name.rpartition("/")[2], each.size, each.boxes) for each in source.records())
    assert after == before
