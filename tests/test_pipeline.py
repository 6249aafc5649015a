"""Stages overlap, keep order, and tell what went wrong where it can be handled."""

import contextlib
import threading
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detector import Detector, DetectorOptions, PreparedInput, RawOutputs
from beeagent.errors import InputError
from beeagent.frames.frame import Frame
from beeagent.frames.handoff import Handoff, HandoffClosedError
from beeagent.pipeline import Pipeline
from tiny_models import RED, painted, square_finder


def _bundle(labels: tuple[str, ...] = ("red",), classes: int = 1) -> ModelBundle:
    return ModelBundle(
        path=Path("tiny.tflite"), name="tiny", sha256="0" * 64, model=square_finder(classes=classes), labels=labels,
        input=None, threshold=0.5, manifest=None,
    )  # fmt: skip


def _detector(labels: tuple[str, ...] = ("red",), classes: int = 1) -> Detector:
    return Detector(_bundle(labels, classes), DetectorOptions(threads=1))


def _frame(index: int, *, red: bool = True) -> Frame:
    pixels = painted((64, 64), {RED: (8 * (index % 8), 0, 8 * (index % 8) + 8, 8)} if red else {})
    return Frame(pixels, datetime.now(timezone.utc), 0, index)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_frame_comes_out_in_order_with_its_own_boxes(workers: int) -> None:
    frames: Handoff[Frame] = Handoff("every")
    pipeline = Pipeline(detectors=[_detector() for _ in range(workers)], frames=frames, keep="every")
    pipeline.start()

    def feed() -> None:
        for index in range(50):
            frames.put(_frame(index))
        frames.close()

    threading.Thread(target=feed, daemon=True).start()
    results = list(pipeline)
    assert [result.frame.index for result in results] == list(range(50))
    for result in results:
        np.testing.assert_allclose(result.detections.boxes[0, 0], (result.frame.index % 8) / 8, atol=1e-5)
    assert pipeline.join(10)


def test_stop_ends_the_iteration_and_the_threads() -> None:
    frames: Handoff[Frame] = Handoff("newest")
    pipeline = Pipeline(detectors=[_detector()], frames=frames, keep="newest")
    pipeline.start()
    frames.put(_frame(0))
    results = iter(pipeline)
    assert next(results).frame.index == 0
    threading.Timer(0, pipeline.stop).start()
    assert list(results) == []
    assert pipeline.join(10)
    with pytest.raises(HandoffClosedError):
        frames.put(_frame(1))


class _Held(Detector):
    """Begins an inference only when it is let."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()
        self.let.set()
        super().__init__(_bundle(), DetectorOptions(threads=1))

    def infer(self, prepared: PreparedInput) -> RawOutputs:
        self.asked.set()
        assert self.let.wait(30)
        return super().infer(prepared)


def test_two_frames_are_in_the_model_at_the_same_time() -> None:
    detectors = [_Held(), _Held()]
    for detector in detectors:
        detector.asked.clear()
        detector.let.clear()
    frames: Handoff[Frame] = Handoff("every")
    pipeline = Pipeline(detectors=detectors, frames=frames, keep="every")
    pipeline.start()
    for index in range(2):
        frames.put(_frame(index))
    for detector in detectors:
        assert detector.asked.wait(30)
    for detector in detectors:
        detector.let.set()
    frames.close()
    assert [result.frame.index for result in pipeline] == [0, 1]


def test_what_one_of_two_workers_raises_ends_both() -> None:
    class Broken(Detector):
        def feed(self, prepared: PreparedInput) -> None:
            raise RuntimeError(f"broken at {prepared.placement}")

    broken = _detector()
    broken.__class__ = Broken
    frames: Handoff[Frame] = Handoff("every")
    pipeline = Pipeline(detectors=[_detector(), broken], frames=frames, keep="every")
    pipeline.start()

    def feed() -> None:
        with contextlib.suppress(HandoffClosedError):
            for index in range(50):
                frames.put(_frame(index))

    threading.Thread(target=feed, daemon=True).start()
    with pytest.raises(RuntimeError, match="broken at"):
        list(pipeline)
    assert pipeline.join(10)


def test_what_a_stage_raises_is_raised_where_results_are_taken() -> None:
    detector = _detector()
    frames: Handoff[Frame] = Handoff("every")
    pipeline = Pipeline(detectors=[detector], frames=frames, keep="every")
    pipeline.start()
    without_pixels = Frame(np.zeros((0, 0, 3), dtype=np.uint8), datetime.now(timezone.utc), 0, 0)
    frames.put(without_pixels)
    with pytest.raises(cv2.error):
        list(pipeline)
    assert pipeline.join(10)


def test_a_class_without_a_label_ends_in_one_line() -> None:
    # A model with a background class may have a label less than classes; this one does find the class in question.
    detector = _detector(labels=("red", "green"), classes=3)
    frames: Handoff[Frame] = Handoff("every")
    pipeline = Pipeline(detectors=[detector], frames=frames, keep="every")
    pipeline.start()
    blue = Frame(painted((64, 64), {(255, 0, 0): (0, 0, 8, 8)}), datetime.now(timezone.utc), 0, 0)
    frames.put(blue)
    with pytest.raises(InputError, match="found class 2, but there are only 2 labels"):
        list(pipeline)
    pipeline.stop()
    assert pipeline.join(10)
