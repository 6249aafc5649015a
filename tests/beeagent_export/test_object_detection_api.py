"""Export of tiny SavedModels with the structure of the Object Detection API."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")

import typer
from beeagent.detection import Fit
from beeagent.errors import InputError
from beeagent_export.cli import export
from beeagent_export.heads import BoxScales, RawHeads
from beeagent_export.object_detection_api.saved_model import load_saved_model
from support.saved_model_answers import SavedModelDetector, agreement
from support.tiny_object_detection_api import SIZE, anchor_boxes, write_exported
from typer.testing import CliRunner

pytestmark = pytest.mark.training


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(export)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exported(tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "tiny"))


def load(folder: Path) -> tuple[RawHeads, str, dict[str, Any]]:
    return load_saved_model(folder, labels=None, input_size=None, fit=None)


def test_heads_are_those_of_the_model(exported: Path) -> None:
    heads, architecture, _ = load(exported)
    assert architecture == "efficientdet-d0"
    assert (heads.width, heads.height, heads.fit) == (SIZE, SIZE, Fit.CORNER)
    assert heads.labels == ("bee", "wasp"), "in the order of their ids, under the names that are shown"
    assert heads.box_scales == BoxScales(y=10, x=10, height=5, width=5)
    np.testing.assert_allclose(heads.anchors, anchor_boxes(), atol=1e-6)
    assert heads.mean == 114, "the grey nearest to what the API pads with"
    model = SavedModelDetector(exported)
    for seed in range(3):
        image = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        codes, scores = heads.run(heads.normalise(image))
        boxes, other_scores = model.raw(image)
        assert np.ptp(scores) > 0.3
        np.testing.assert_allclose(scores, other_scores, atol=1e-5)
        np.testing.assert_allclose(heads.decode(codes), boxes, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_agent_and_saved_model_detect_the_same(
    exported: Path, image_folder: Path, tmp_path: Path, precision: str
) -> None:
    bundle = tmp_path / precision
    out = run(exported, "--out", bundle, "--calibrate", image_folder, "--precision", precision)
    assert f"{SIZE}x{SIZE}" in out
    model = SavedModelDetector(exported)
    wanted = 0
    for number, path in enumerate(sorted(image_folder.iterdir())[:6]):
        # One side is the input's already: how either scales images is not what is compared here.
        image = np.asarray(cv2.resize(cv2.imread(str(path)), (SIZE, (SIZE, 36)[number % 2])), dtype=np.uint8)
        result = agreement(model, bundle, image, threshold=0.3, overlap=0.5)
        wanted += result.wanted
        if precision == "float32" and image.shape[0] == SIZE:
            assert result.found == result.wanted
            assert result.score_difference < 1e-4
            assert result.smallest_iou > 0.999
        else:
            assert result.found >= 0.8 * result.wanted
            assert result.mean_iou > 0.9
            assert result.score_difference < 0.2
    assert wanted > 20


def test_manifest_records_the_origin(exported: Path, tmp_path: Path) -> None:
    run(exported / "saved_model", "--out", tmp_path / "bees", "--precision", "float32")
    text = (tmp_path / "bees" / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["input"] == {"width": SIZE, "height": SIZE, "fit": "corner", "mean": 114.0, "std": 128.0}
    assert manifest["labels"] == ["bee", "wasp"]
    assert len(manifest["provenance"]["saved_model"]["sha256"]) == 64
    assert manifest["provenance"]["architecture"]["anchors"] == len(anchor_boxes())
    assert str(exported.parent) not in text


def test_labels_from_a_text_file(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("honey bee\nhornet\n")
    run(exported, "--out", tmp_path / "bees", "--precision", "float32", "--labels", tmp_path / "labels.txt")
    assert (tmp_path / "bees" / "labels.txt").read_text() == "honey bee\nhornet\n"


def test_a_model_of_float_images_is_taken_too(exported: Path, tmp_path: Path) -> None:
    other, _, _ = load(write_exported(tmp_path / "tiny", input_type="float32"))
    np.testing.assert_allclose(other.anchors, load(exported)[0].anchors)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert len(content) > size
        (folder / name).write_bytes(content[:size])

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DATA = "saved_model/variables/variables.data-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("pipeline.config"), r"saved_model has no pipeline\.config beside it: .* other SavedModels cannot"),
        (remove("label_map.pbtxt"), r"names of the model's 2 classes are unknown: give --labels FILE"),
        (edit("label_map.pbtxt", 'item { id: 2 name: "wasp" }', ""), r"label_map\.pbtxt have 1 classes, .* has 2"),
        (edit("label_map.pbtxt", "id: 2", "id: 3"), r"has the ids 1, 3: they must be 1 to 2"),
        (edit("label_map.pbtxt", "id: 2", "id: 1"), r"has the id 1 twice"),
        (edit("label_map.pbtxt", "wasp", "bee"), r"label_map\.pbtxt have duplicate names"),
        (edit("label_map.pbtxt", 'name: "wasp"', ""), r"label_map\.pbtxt has no name for the id 2"),
        (edit("label_map.pbtxt", "item {", "item"), r"label_map\.pbtxt: is not the text format of a protocol buffer"),
        (edit("pipeline.config", "ssd {", "faster_rcnn {"), r"feature extractor is 'not given': only EfficientDet"),
        (edit("pipeline.config", "efficientnet-b0_bifpn", "mobilenet_v2_fpn"), r"mobilenet_v2_fpn_keras': only Eff"),
        (edit("pipeline.config", "SIGMOID", "SOFTMAX"), r"score_converter is not SIGMOID"),
        (edit("pipeline.config", "num_classes: 2", "num_classes: 0"), r"num_classes is 0: it must be 1 or more"),
        (edit("pipeline.config", "num_classes: 2", "num_classes: 3"), r"label_map\.pbtxt have 2 classes, .* has 3"),
        (edit("pipeline.config", str(SIZE), "128"), r"input of 64x64 pixels .* but .* has 128x128 and 2"),
        (edit("pipeline.config", "x_scale: 10.0", "x_scale: 0"), r"faster_rcnn_box_coder must be more than 0"),
        (edit("pipeline.config", "height_scale: 5.0", "height_scale: 1.0"), r"does not decode boxes as"),
        (edit("pipeline.config", "pad_to_max_dimension: true", ""), r"without pad_to_max_dimension"),
        (cut("pipeline.config", 100), r"pipeline\.config: is not the text format of a protocol buffer"),
        (cut("saved_model/saved_model.pb", 5000), r"SavedModel .* cannot be loaded: .*; export it again"),
        (cut(DATA, 1000), r"SavedModel .* cannot be loaded: .*; export it again"),
        (remove(DATA), r"SavedModel .* cannot be loaded: .*; export it again"),
        (cut("saved_model/variables/variables.index", 100), r"SavedModel .* cannot be loaded: .*; export it again"),
    ],
)
def test_defective_or_unsupported_source_is_refused(
    damage: Callable[[Path], None], message: str, copy: Path, tmp_path: Path
) -> None:
    damage(copy)
    refuse(message, tmp_path / "out" / "bees", copy)


def refuse(message: str, out: Path, *arguments: object) -> None:
    """Run the command and expect one matching error line, and no new files."""
    out.parent.mkdir()
    with pytest.raises(InputError, match=message) as caught:
        run(*arguments, "--out", out, "--precision", "float32")
    assert "\n" not in str(caught.value)
    assert not any(out.parent.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input-size", "128"], r"--input-size is 128x128, but a SavedModel's is fixed: 64x64"),
        (["--fit", "stretch"], r"--fit is stretch, but .* has corner: leave --fit out"),
        (["--labels", "missing.pbtxt"], r"labels missing\.pbtxt cannot be read: No such file"),
    ],
)
def test_options_that_the_model_fixes_are_refused(
    options: list[str], message: str, exported: Path, tmp_path: Path
) -> None:
    refuse(message, tmp_path / "out" / "bees", exported, *options)


def test_labels_of_a_checkpoint_are_refused(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    options = ("--labels", exported / "label_map.pbtxt")
    refuse(r"--labels is .*, but the checkpoint .* has its own", tmp_path / "out" / "bees", checkpoint, *options)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"stems": 2}, r"has 2 convolutions on three channels where one is expected: it is not an EfficientDet"),
        ({"wavy": True}, r"does not normalise pixels by a factor and an offset"),
    ],
)
def test_graphs_of_another_structure_are_refused(kind: dict[str, int], message: str, tmp_path: Path) -> None:
    refuse(message, tmp_path / "out" / "bees", write_exported(tmp_path / "tiny", **kind))


def test_a_keras_saved_model_is_refused_even_with_a_config(copy: Path, tmp_path: Path) -> None:
    import keras  # noqa: PLC0415 - takes seconds, and may not be there

    shutil.rmtree(copy / "saved_model")
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]).export(copy / "saved_model", verbose=False)
    refuse(r"has no signature serving_default that returns raw_detection_boxes", tmp_path / "out" / "bees", copy)
