"""Recommendation of a bundled model for a camera and machine."""

import re

import pytest
from beeagent.detection import DetectorOptions, Fit, InputSpec, ModelMeasurement, advise, measure_models
from hypothesis import given
from hypothesis import strategies as st
from support.memory_bundle import bundle_of
from support.tiny_models import GREEN, RED, painted, square_finder

NAMES = ("bees-lite0", "bees-lite0-wide", "bees-lite2")
RATES = st.floats(0.01, 10_000)


@st.composite
def installed_models(draw: st.DrawFn) -> list[ModelMeasurement]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    seen = draw(st.booleans())
    return [
        ModelMeasurement(
            name=name,
            input_size=(draw(st.integers(1, 8192)), draw(st.integers(1, 8192))),
            bee_size=draw(st.floats(0.1, 8192)) if seen else None,
            frame_rate=draw(RATES),
        )
        for name in names
    ]


@given(models=installed_models(), current=st.sampled_from(NAMES), wanted_rate=st.none() | RATES)
def test_only_installed_models_are_recommended(
    models: list[ModelMeasurement], current: str, wanted_rate: float | None
) -> None:
    advice = advise(models, current=current, wanted_rate=wanted_rate)
    installed = {model.name: model for model in models}
    assert set(re.findall(r"bees-lite[\w-]+", advice.text)) <= set(installed)
    assert (advice.model is None) == (models[0].bee_size is None)
    assert "\n" not in advice.text
    if advice.model is not None:
        keeping_up = {name for name, one in installed.items() if wanted_rate is None or one.frame_rate >= wanted_rate}
        assert advice.model in (keeping_up or installed)


def two_models(size: float | None, *, rate: float = 28.0, wide_rate: float = 14.3) -> list[ModelMeasurement]:
    """Return both bundled models of a 16:9 camera, in whose wide input the bees have twice the size."""
    wide = None if size is None else 2 * size
    return [
        ModelMeasurement(name="bees-lite0", input_size=(320, 320), bee_size=size, frame_rate=rate),
        ModelMeasurement(name="bees-lite0-wide", input_size=(640, 384), bee_size=wide, frame_rate=wide_rate),
    ]


def test_small_bees_need_the_wide_model() -> None:
    advice = advise(two_models(18), current="bees-lite0", wanted_rate=14)
    assert advice.model == "bees-lite0-wide"
    assert advice.text == (
        "bees are about 18 px at 320x320 and 36 px at 640x384: take bees-lite0-wide, 14 frames/s here"
    )


@pytest.mark.parametrize(("current", "verb"), [("bees-lite0", "keep"), ("bees-lite0-wide", "take")])
def test_large_bees_need_the_fast_model(current: str, verb: str) -> None:
    advice = advise(two_models(40), current=current, wanted_rate=None)
    assert advice.model == "bees-lite0"
    assert advice.text.endswith(f": {verb} bees-lite0, 28 frames/s here")


def test_model_that_does_not_keep_up_is_named_with_the_rate_that_it_keeps() -> None:
    advice = advise(two_models(18, wide_rate=6.47), current="bees-lite0", wanted_rate=15)
    assert advice.model == "bees-lite0"
    assert advice.text.endswith(
        "keep bees-lite0, 28 frames/s here; bees-lite0-wide would detect more bees, but at 6.4 frames/s: take it if "
        "--max-rate 6.4 is enough"
    )


def test_fastest_model_is_recommended_if_none_keeps_up() -> None:
    advice = advise(two_models(18), current="bees-lite0-wide", wanted_rate=30)
    assert advice.model == "bees-lite0"
    assert "take bees-lite0, 28 frames/s here of 30, the others are dropped" in advice.text


def test_unknown_size_is_stated_with_the_way_to_find_out() -> None:
    advice = advise(two_models(None), current="bees-lite0", wanted_rate=None)
    assert advice.model is None
    assert "their size is not known yet: run this again while bees are in view" in advice.text


def test_single_model_is_recommended_alone() -> None:
    advice = advise(two_models(9)[:1], current="bees-lite0", wanted_rate=None)
    assert advice.model == "bees-lite0"
    assert "wide" not in advice.text
    assert "few bees of this size are detected" in advice.text


def test_bee_sizes_are_measured_at_each_input() -> None:
    bundles = {
        "small": bundle_of(square_finder(size=(64, 64)), labels=["bee"], spec=spec(64, 64)),
        "wide": bundle_of(square_finder(size=(128, 64)), labels=["bee"], spec=spec(128, 64)),
    }
    # A cell of the small model's grid: 8x8 pixels of its input, 16x16 of the frame.
    frames = [painted((128, 64), {RED: (32, 16, 48, 32)}), painted((128, 64), {})]
    measured = measure_models(bundles, frames, current="small", options=DetectorOptions(threads=1), tiles=None)
    assert {one.name: (one.input_size, one.bee_size) for one in measured} == {
        "small": ((64, 64), pytest.approx(8, abs=0.1)),
        "wide": ((128, 64), pytest.approx(16, abs=0.1)),
    }
    assert all(one.frame_rate > 0 for one in measured)
    tiled = measure_models(bundles, frames[:1], current="small", options=DetectorOptions(threads=1), tiles="2x1")
    assert {one.name: one.bee_size for one in tiled}["small"] > 8


def test_size_is_measured_with_another_model_without_detections() -> None:
    bundles = {
        "blind": bundle_of(square_finder(size=(64, 64)), labels=["red"], spec=spec(64, 64)),
        "other": bundle_of(square_finder(size=(128, 64), classes=3), spec=spec(128, 64)),
    }
    frames = [painted((128, 64), {GREEN: (32, 16, 48, 24)})]
    measured = measure_models(bundles, frames, current="blind", options=DetectorOptions(threads=1), tiles=None)
    assert all(one.bee_size is not None for one in measured)
    assert (
        measure_models(
            bundles, [painted((128, 64), {})], current="blind", options=DetectorOptions(threads=1), tiles=None
        )[0].bee_size
        is None
    )


def spec(width: int, height: int) -> InputSpec:
    return InputSpec(width=width, height=height, fit=Fit.LETTERBOX)
