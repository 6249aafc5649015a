"""Reading of .tflite files."""

import io
import zipfile
from pathlib import Path

import pytest
from beeagent.detection import ModelBundle, default_model
from beeagent.detection.model_file import _flex_integers, label_file_name, post_process_classes
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shared_data import shared_file
from support.tiny_models import edge_finder, square_finder


@pytest.mark.parametrize("classes", [1, 2, 90, 127, 128, 300])
@pytest.mark.parametrize("background", [False, True])
def test_number_of_classes_is_read_from_the_op(classes: int, background: bool) -> None:  # noqa: FBT001 - a parameter
    assert post_process_classes(square_finder(classes=classes, background=background)) == classes


def test_a_model_without_the_op_has_no_number_of_classes() -> None:
    assert post_process_classes(edge_finder()) is None
    assert label_file_name(edge_finder()) is None


@pytest.mark.parametrize(
    ("name", "classes"), [("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", 90), ("traffic_model", 3)]
)
def test_models_of_others_are_read(name: str, classes: int) -> None:
    assert post_process_classes(shared_file(f"third_party/{name}.tflite").read_bytes()) == classes


keys = st.text("abcdefgh_", min_size=1, max_size=12)


@given(
    st.dictionaries(
        keys, st.integers(0, 2**63 - 1) | st.sampled_from([0.5, 0.6, 1e9]) | st.booleans() | st.text("xyz"), max_size=8
    )
)
def test_integers_of_a_map_are_read_as_the_flatbuffers_package_wrote_them(content: dict[str, object]) -> None:
    expected = {key.encode(): value for key, value in content.items() if type(value) is int}
    assert _flex_integers(bytes(flexbuffers.Dumps(content))) == expected


MODEL = square_finder(classes=3)
PACKED = ModelBundle.load(default_model()).model


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([MODEL, PACKED]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=20),
    st.floats(0, 1),
)
def test_any_damage_is_tolerated(model: bytes, changes: list[tuple[float, int]], kept: float) -> None:
    content = bytearray(model[: int(len(model) * kept)] if kept < 0.9 else model)
    for at, value in changes:
        if content:
            content[int(at**4 * len(content))] = value
    assert post_process_classes(bytes(content)) is None or isinstance(post_process_classes(bytes(content)), int)
    assert label_file_name(bytes(content)) is None or isinstance(label_file_name(bytes(content)), str)


def test_the_metadata_name_the_labels_among_several_packed_files(tmp_path: Path) -> None:
    model = io.BytesIO(PACKED)
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("score_calibration.txt", "0.1,0.2\n")
    (tmp_path / "bees.tflite").write_bytes(model.getvalue())
    assert label_file_name(model.getvalue()) == "labels.txt"
    assert ModelBundle.load(tmp_path / "bees.tflite").labels == ("bee",)
