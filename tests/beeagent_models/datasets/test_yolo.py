from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.reading import read_dataset
from beeagent_models.datasets.yolo import is_yolo
from hypothesis import given
from hypothesis import strategies as st


def put(image: Path, rows: str | None, *, labels: Path | None = None) -> Path:
    image.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(image), np.zeros((80, 120, 3), np.uint8))
    if rows is not None:
        assert labels is not None
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(rows)
    return image


def single(folder: Path, rows: str | None) -> Path:
    put(folder / "images" / "a.png", rows, labels=folder / "labels" / "a.txt")
    return folder


ratios = st.floats(0.01, 0.49)


@given(st.lists(st.tuples(st.integers(0, 1), ratios, ratios, ratios, ratios), min_size=1, max_size=6))
def test_written_rows_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float, float, float, float]]
) -> None:
    # Each box by its distances from the middle: left, up, right, down.
    text = "\n".join(
        f"{class_id} {0.5 + (right - left) / 2:.17g} {0.5 + (down - up) / 2:.17g} {left + right:.17g} {up + down:.17g}"
        for class_id, left, up, right, down in rows
    )
    folder = single(tmp_path_factory.getbasetemp() / "yolo-round-trip", text)
    image = read_dataset(folder, name="set", labels=("bee", "wasp")).images[0]
    expected = [
        [(0.5 - left) * 120, (0.5 - up) * 80, (0.5 + right) * 120, (0.5 + down) * 80]
        for _, left, up, right, down in rows
    ]
    assert np.allclose(image.boxes, expected, atol=1e-4)
    assert image.class_ids.tolist() == [row[0] for row in rows]


def test_an_outline_becomes_the_box_around_it(tmp_path: Path) -> None:
    image = read_dataset(single(tmp_path, "0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n"), name="s", labels=("bee",)).images[
        0
    ]
    assert image.boxes.tolist() == [[30, 20, 90, 60]]


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_splits_are_read_together_or_alone(tmp_path: Path, layout: str) -> None:
    for split in ("train", "val"):
        images = tmp_path / layout.format(split)
        labels = Path(str(images).replace("images", "labels"))
        put(images / f"{split}.png", "0 0.5 0.5 0.5 0.5", labels=labels / f"{split}.txt")
    assert is_yolo(tmp_path)
    both = read_dataset(tmp_path, name="set", labels=("bee",))
    assert [image.path.stem for image in both.images] == ["train", "val"]
    one = tmp_path / layout.format("val")
    assert is_yolo(one)
    assert [image.path.stem for image in read_dataset(one, name="set", labels=("bee",)).images] == ["val"]


def test_an_image_without_a_label_file_shows_nothing(tmp_path: Path) -> None:
    single(tmp_path, "0 0.5 0.5 0.5 0.5")
    put(tmp_path / "images" / "empty.png", None)
    assert [len(image.boxes) for image in read_dataset(tmp_path, name="set", labels=("bee",)).images] == [1, 0]


@pytest.mark.parametrize(
    "content", ["names: [bee, wasp]\n", "names:\n  0: bee\n  1: wasp\nnc: 2\n", "names: {1: wasp, 0: bee}\n"]
)
def test_names_come_from_data_yaml(tmp_path: Path, content: str) -> None:
    (single(tmp_path, "1 0.5 0.5 0.5 0.5") / "data.yaml").write_text(content)
    dataset = read_dataset(tmp_path, name="set")
    assert dataset.labels == ("bee", "wasp")
    assert dataset.images[0].class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: [", "broken YAML"),
        ("nc: 1", "'names' must list"),
        ("- a", "'names' must list"),
        ("names: {1: bee}", "'names' must list"),
        ("names: []", "'names' must list"),
    ],
)
def test_a_defective_data_yaml_is_named(tmp_path: Path, content: str, message: str) -> None:
    (single(tmp_path, "0 0.5 0.5 0.5 0.5") / "data.yaml").write_text(content)
    with pytest.raises(InputError, match=rf"data\.yaml: {message}") as caught:
        read_dataset(tmp_path, name="set")
    assert "\n" not in str(caught.value)


def test_error_about_missing_names_has_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data\.yaml .*=bee"):
        read_dataset(single(tmp_path, "0 0.5 0.5 0.5 0.5"), name="set")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("zero 0.5 0.5 0.5 0.5", "is not a class number and ratios"),
        ("0 0.5 0.5 x 0.5", "is not a class number and ratios"),
        ("1 0.5 0.5 0.5 0.5", "class 1 is unknown"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 is unknown"),
        ("0 0.5 0.5 0.5", "has 4 fields"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5 0.5", "has 8 fields"),
    ],
)
def test_a_defective_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.txt:3: .*{message}"):
        read_dataset(single(tmp_path, f"0 0.5 0.5 0.5 0.5\n\n{row}\n"), name="set", labels=("bee",))


@pytest.mark.parametrize("row", ["0 0.5 0.5 0 0.5", "0 nan 0.5 0.5 0.5", "0 0.5 0.5 -0.1 0.2"])
def test_a_box_without_area_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match=r"a\.txt:1: box 1, .* has no area"):
        read_dataset(single(tmp_path, row), name="set", labels=("bee",))


def test_a_label_file_without_an_image_is_named(tmp_path: Path) -> None:
    single(tmp_path, "0 0.5 0.5 0.5 0.5")
    (tmp_path / "labels" / "ghost.txt").write_text("")
    with pytest.raises(InputError, match=r"ghost\.txt: has no image"):
        read_dataset(tmp_path, name="set", labels=("bee",))


def test_a_folder_without_images_or_labels_is_refused(tmp_path: Path) -> None:
    assert not is_yolo(tmp_path)
    with pytest.raises(InputError, match=r"no images/ and labels/, no data\.yaml"):
        read_dataset(tmp_path, name="set", labels=("bee",))
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="no image in a folder 'images'"):
        read_dataset(tmp_path, name="set", labels=("bee",))
    put(tmp_path / "images" / "a.png", None)
    with pytest.raises(InputError, match="no image has a label file"):
        read_dataset(tmp_path, name="set", labels=("bee",))
