from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow")

from ai_edge_litert.interpreter import Interpreter
from beeagent.detection import Detector, DetectorOptions, InputSpec, Manifest, ModelBundle, Threshold
from beeagent_export.bundle import bundle_files, hashes, write_bundle
from beeagent_export.conversion import SCORES_OUTPUT, Precision, convert_heads
from beeagent_export.heads import RawHeads
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from support.raw_heads import colour_heads

pytestmark = pytest.mark.training

NORMALISATIONS = [(127.0, 128.0), (127.5, 127.5), (0.0, 255.0), (0.0, 1.0)]


def dim_images(heads: RawHeads) -> Iterator[NDArray[np.uint8]]:
    """Images of one colour each, none with the darkest or the brightest pixel."""
    for red, green, blue in np.random.default_rng(0).integers(50, 200, (20, 3)):
        yield fill(heads, (red, green, blue))


def fill(heads: RawHeads, rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((heads.height, heads.width, 3), rgb, dtype=np.uint8)


@pytest.mark.parametrize(("mean", "std"), NORMALISATIONS)
def test_int8_takes_pixels_as_they_are(mean: float, std: float) -> None:
    heads = colour_heads(mean=mean, std=std)
    run = Interpreter(
        model_content=convert_heads(heads, precision=Precision.INT8, calibration=dim_images(heads))
    ).get_signature_runner()
    assert run.get_input_details()["images"]["dtype"] == np.uint8
    for rgb in [(60, 120, 190), (190, 61, 119), (100, 100, 100)]:
        scores = run(images=fill(heads, rgb)[np.newaxis])[SCORES_OUTPUT][0, 0]
        np.testing.assert_allclose(scores, np.array(rgb) / 255, atol=0.01)


@pytest.mark.parametrize(("mean", "std"), NORMALISATIONS)
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16, Precision.DYNAMIC])
def test_other_precisions_take_pixels_as_well(precision: Precision, mean: float, std: float) -> None:
    heads = colour_heads(mean=mean, std=std)
    run = Interpreter(model_content=convert_heads(heads, precision=precision)).get_signature_runner()
    assert run.get_input_details()["images"]["dtype"] == np.uint8
    scores = run(images=fill(heads, (255, 51, 0))[np.newaxis])[SCORES_OUTPUT][0, 0]
    np.testing.assert_allclose(scores, [1.0, 0.2, 0.0], atol=2e-3)


@pytest.mark.parametrize("precision", list(Precision))
def test_the_agent_sees_the_right_colour_through_a_bundle(precision: Precision, tmp_path: Path) -> None:
    heads = colour_heads(mean=127.0, std=128.0)
    model = append_postprocess(
        convert_heads(heads, precision=precision, calibration=dim_images(heads)), heads, PostProcessOptions()
    )
    files = bundle_files(model, heads.labels)
    manifest = Manifest(
        name="colours",
        version="1",
        licence="NOASSERTION",
        files=hashes(files),
        input=InputSpec(width=heads.width, height=heads.height, fit=heads.fit, mean=heads.mean, std=heads.std),
        labels=list(heads.labels),
        threshold=Threshold(value=0.1, chosen_by="test"),
    )
    write_bundle(tmp_path / "colours", manifest, files, force=False)
    detector = Detector(ModelBundle.load(tmp_path / "colours"), DetectorOptions(threads=1))
    for label, bgr in (("red", (10, 40, 180)), ("green", (40, 180, 10)), ("blue", (180, 10, 40))):
        found = detector.detect(np.full((48, 64, 3), bgr, dtype=np.uint8))
        assert [found.label(index) for index in range(len(found))] == [label]
        assert found.confidences[0] == pytest.approx(180 / 255, abs=0.015)
        np.testing.assert_allclose(found.boxes[0], [0.25, 0.25, 0.75, 0.75], atol=1e-5)


def test_int8_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        convert_heads(colour_heads(mean=127.0, std=128.0), precision=Precision.INT8)


def test_heads_that_do_not_fit_their_anchors_are_refused() -> None:
    heads = colour_heads(mean=127.0, std=128.0)
    with pytest.raises(ValueError, match="do not fit 2 anchors"):
        RawHeads(
            function=heads.function,
            width=heads.width,
            height=heads.height,
            fit=heads.fit,
            mean=heads.mean,
            std=heads.std,
            labels=heads.labels,
            anchors=np.zeros((2, 4), dtype=np.float32),
        )
