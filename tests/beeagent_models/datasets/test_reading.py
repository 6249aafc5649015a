import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.reading import merge_datasets, parse_source, read_dataset
from hypothesis import given
from hypothesis import strategies as st

SHARED = Path(os.environ.get("BEEAGENT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the photographs are not at {SHARED}")

MANIFEST_ROW = {
    "source-ref": "s3://bucket/a.png",
    "bees": {
        "image_size": [{"width": 120, "height": 80, "depth": 3}],
        "annotations": [{"class_id": 0, "left": 30, "top": 20, "width": 60, "height": 40}],
    },
    "bees-metadata": {"class-map": {"0": "bee"}, "type": "groundtruth/object-detection"},
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 120, "height": 80}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [30, 20, 60, 40]}],
    "categories": [{"id": 1, "name": "bee"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "garden" / "images").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / "garden" / "images" / "a.png"), np.zeros((80, 120, 3), np.uint8))
    return tmp_path / "garden"


def check(dataset: Dataset, folder: Path) -> None:
    assert dataset.name == "garden"
    assert dataset.labels == ("bee",)
    (image,) = dataset.images
    assert image.path.samefile(folder / "images" / "a.png")
    assert (image.width, image.height) == (120, 80)
    assert image.boxes.tolist() == [[30, 20, 90, 60]]
    assert image.class_ids.tolist() == [0]


@pytest.mark.parametrize("file", ["output.manifest", "labels.jsonl", "labels.json", "labels.txt"])
def test_a_manifest_is_known_by_name_or_content(folder: Path, file: str) -> None:
    (folder / file).write_text(f"\n{json.dumps(MANIFEST_ROW)}\n")
    check(read_dataset(folder / file), folder)


def test_a_manifest_known_by_name_is_one_even_if_broken(folder: Path) -> None:
    (folder / "output.manifest").write_text('{"source-ref": ')
    with pytest.raises(InputError, match=r"output\.manifest:1: broken JSON"):
        read_dataset(folder / "output.manifest")


def test_a_folder_with_a_manifest_will_do(folder: Path) -> None:
    (folder / "output.manifest").write_text(json.dumps(MANIFEST_ROW))
    check(read_dataset(folder), folder)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_coco_file_is_known_by_its_content(folder: Path, indent: int | None) -> None:
    (folder / "coco.json").write_text(json.dumps(COCO, indent=indent))
    check(read_dataset(folder / "coco.json"), folder)


def test_a_yolo_folder_is_known_by_its_labels(folder: Path) -> None:
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    check(read_dataset(folder, labels=("bee",)), folder)
    (folder / "data.yaml").write_text("names: [bee]\n")
    check(read_dataset(folder), folder)
    check(read_dataset(folder / "data.yaml"), folder)


@pytest.mark.parametrize("path", ["none", "images", ".", "empty.json", "binary.json"])
def test_error_names_a_path_that_is_no_dataset(folder: Path, path: str) -> None:
    (folder / "empty.json").write_text("")
    (folder / "binary.json").write_bytes(b"\xff\x00")
    with pytest.raises(InputError) as caught:
        read_dataset(folder / path, labels=("bee",))
    assert str(folder / path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_two_manifests_one_must_be_named(folder: Path) -> None:
    for name in ("a.manifest", "b.manifest"):
        (folder / name).write_text(json.dumps(MANIFEST_ROW))
    with pytest.raises(InputError, match="has 2 manifests; give one"):
        read_dataset(folder)


def test_a_source_names_a_path_and_perhaps_labels(tmp_path: Path) -> None:
    assert parse_source("flight") == (Path("flight"), None)
    assert parse_source("flight=bee, wasp") == (Path("flight"), ("bee", "wasp"))
    (tmp_path / "run=3").mkdir()
    assert parse_source(str(tmp_path / "run=3")) == (tmp_path / "run=3", None)
    assert parse_source(f"{tmp_path}/run=3=bee") == (tmp_path / "run=3", ("bee",))


@pytest.mark.parametrize("text", ["=bee", "flight=", "flight=bee,", "flight=,bee"])
def test_a_malformed_source_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a dataset"):
        parse_source(text)


labels = st.lists(st.sampled_from(["ant", "bee", "wasp", "fly"]), min_size=1, unique=True)


@given(st.lists(labels, min_size=1, max_size=4))
def test_merging_keeps_every_box_under_its_name(sets: list[list[str]]) -> None:
    datasets = [
        Dataset(
            name=str(index),
            labels=tuple(names),
            images=(
                LabelledImage(
                    path=Path(f"{index}.png"),
                    width=9,
                    height=9,
                    boxes=np.zeros((len(names), 4), np.float32),
                    class_ids=np.arange(len(names)),
                ),
            ),
        )
        for index, names in enumerate(sets)
    ]
    merged = merge_datasets(datasets)
    assert sorted(merged.labels) == sorted({name for names in sets for name in names})
    for image, names in zip(merged.images, sets, strict=True):
        assert [merged.labels[class_id] for class_id in image.class_ids] == names
    assert merged.name == "+".join(str(index) for index in range(len(sets)))


@needs_shared
@pytest.mark.parametrize(
    ("source", "images", "boxes"),
    [
        ("ramp/output.manifest", 135, 1614),
        ("hive/output.manifest", 196, 1563),
        ("flight=bee", 100, 200),
    ],
)
def test_the_photographs_are_read_whole(source: str, images: int, boxes: int) -> None:
    path, names = parse_source(str(SHARED / source))
    dataset = read_dataset(path, labels=names)
    assert len(dataset.images) == images
    assert sum(len(image.boxes) for image in dataset.images) == boxes
    assert dataset.labels == ("bee",)
