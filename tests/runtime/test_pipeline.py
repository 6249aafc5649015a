"""Stages overlap, keep order, get over what is stuck, and tell what went wrong where it can be handled."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.backoff import Backoff
from beeagent.camera import Frame, FrameQueue, QueueClosedError
from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detector import DetectorOptions, RawOutputs
from beeagent.detection.loaded import LoadedModel
from beeagent.detection.tiled import PreparedFrame, TiledDetector
from beeagent.errors import InputError
from beeagent.runtime.pipeline import FrameResult, Pipeline
from support.tiny_models import RED, edge_finder, painted, square_finder

_DEADLINE = 30.0


def _bundle(labels: tuple[str, ...] = ("red",), classes: int = 1, name: str = "tiny") -> ModelBundle:
    return ModelBundle(
        path=Path("tiny.tflite"), name=name, sha256="0" * 64, model=square_finder(classes=classes), labels=labels,
        input=None, threshold=0.5, manifest=None,
    )  # fmt: skip


def _model(places: int = 1, *, name: str = "tiny") -> LoadedModel:
    return LoadedModel(_bundle(name=name), DetectorOptions(threads=1), places=places)


class _Model(LoadedModel):
    """A real model in which something happens first: `before` is called with the place."""

    def __init__(self, places: int, before: Callable[[int], None]) -> None:
        super().__init__(_bundle(), DetectorOptions(threads=1), places=places)
        self._before = before

    def infer(self, place: int, prepared: PreparedFrame) -> tuple[RawOutputs, ...]:
        detector = self._at(place)  # as in one that sticks: whoever comes back from it comes back from its own
        self._before(place)
        return detector.infer(prepared)


def _pipeline(
    model: LoadedModel, frames: FrameQueue[Frame], *, keep: str = "every", stuck_after: float = 60
) -> Pipeline:
    troubles: list[str | None] = []
    pipeline = Pipeline(
        model=model, frames=frames, keep="newest" if keep == "newest" else "every", on_trouble=troubles.append,
        stuck_after=stuck_after, backoff=Backoff(first=0.01, longest=0.02),
    )  # fmt: skip
    pipeline.troubles = troubles  # type: ignore[attr-defined]
    return pipeline


def _frame(index: int, *, red: bool = True) -> Frame:
    pixels = painted((64, 64), {RED: (8 * (index % 8), 0, 8 * (index % 8) + 8, 8)} if red else {})
    return Frame(pixels, datetime.now(timezone.utc), 0, index)


def _feed(frames: FrameQueue[Frame], count: int) -> None:
    def feed() -> None:
        with contextlib.suppress(QueueClosedError):
            for index in range(count):
                frames.put(_frame(index))
        frames.close()

    threading.Thread(target=feed, daemon=True).start()


def _assert_own_boxes(results: list[FrameResult]) -> None:
    for result in results:
        np.testing.assert_allclose(result.detections.boxes[0, 0], (result.frame.index % 8) / 8, atol=1e-5)


@pytest.mark.parametrize("places", [1, 2, 5])
def test_every_frame_comes_out_in_order_with_its_own_boxes(places: int) -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(places), frames)
    pipeline.start()
    _feed(frames, 50)
    results = list(pipeline)
    assert [result.frame.index for result in results] == list(range(50))
    _assert_own_boxes(results)
    assert pipeline.join(_DEADLINE)


def test_frames_that_end_before_the_first_end_the_results_too() -> None:
    """A worker that ended while the next was started kept that one from starting, and the results from ending."""
    model = _model(5)
    for _ in range(50):
        frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
        frames.close()
        pipeline = _pipeline(model, frames)
        pipeline._prepared.close()
        pipeline.start()
        assert list(pipeline) == []
        assert pipeline.join(_DEADLINE)


def test_stop_ends_the_iteration_and_the_threads() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    pipeline = _pipeline(_model(), frames, keep="newest")
    pipeline.start()
    frames.put(_frame(0))
    results = iter(pipeline)
    assert next(results).frame.index == 0
    threading.Timer(0, pipeline.stop).start()
    assert list(results) == []
    assert pipeline.join(_DEADLINE)
    with pytest.raises(QueueClosedError):
        frames.put(_frame(1))


def test_two_frames_are_in_the_model_at_the_same_time() -> None:
    meeting = threading.Barrier(2)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(2, lambda _: meeting.wait(_DEADLINE) and None), frames)
    pipeline.start()
    _feed(frames, 2)
    assert [result.frame.index for result in pipeline] == [0, 1]


def test_what_one_of_two_workers_raises_ends_both() -> None:
    def fail_at_the_second(place: int) -> None:
        if place == 1:
            raise RuntimeError("broken")

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(2, fail_at_the_second), frames)
    pipeline.start()
    _feed(frames, 50)
    with pytest.raises(RuntimeError, match="broken"):
        list(pipeline)
    assert pipeline.join(_DEADLINE)


@pytest.fixture
def block() -> Iterator[threading.Event]:
    """Give an event for which a stuck inference waits; it is set at the end, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("places", [1, 2])
def test_a_stuck_inference_costs_its_frame_and_no_other(places: int, block: threading.Event) -> None:
    calls: list[int] = []

    def stick_once(place: int) -> None:
        calls.append(place)
        if len(calls) == 5:
            block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(places, stick_once), frames, stuck_after=0.3)
    pipeline.start()
    _feed(frames, 50)
    results = list(pipeline)
    indices = [result.frame.index for result in results]
    assert len(indices) == 49
    assert indices == sorted(set(indices))
    _assert_own_boxes(results)
    assert pipeline.lost == 1
    assert pipeline.troubles == ["an inference has taken more than 0.3 s; another thread goes on", None]  # type: ignore[attr-defined]
    assert pipeline.join(_DEADLINE)


def test_a_thread_given_up_while_it_loads_keeps_its_interpreter_to_itself(block: threading.Event) -> None:
    """It stored its detector all the same, and so its successor ran the same interpreter at the same time."""
    model = _model()
    model.give_up(0)
    load, loading = model._load, threading.Event()

    def slow_load() -> TiledDetector:
        if not loading.is_set():
            loading.set()
            block.wait(_DEADLINE)
        return load()

    model._load = slow_load  # type: ignore[assignment]
    first = threading.Thread(target=model._at, args=(0,), daemon=True)
    first.start()
    assert loading.wait(_DEADLINE)
    model.give_up(0)
    successors = model._at(0)
    block.set()
    first.join(_DEADLINE)
    assert model._at(0) is successors


def test_what_comes_back_late_from_a_stuck_inference_is_nobodys_business(block: threading.Event) -> None:
    calls: list[int] = []

    def stick_and_fail(place: int) -> None:
        calls.append(place)
        if len(calls) == 1:
            block.wait(_DEADLINE)
            raise RuntimeError("too late")
        if len(calls) == 20:
            block.set()

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick_and_fail), frames, stuck_after=0.3)
    pipeline.start()
    _feed(frames, 40)
    assert [result.frame.index for result in pipeline] == list(range(1, 40))


def test_a_model_that_sticks_again_and_again_leaves_three_threads_behind_and_no_more(block: threading.Event) -> None:
    stuck = threading.Semaphore(0)

    def stick(_: int) -> None:
        stuck.release()
        block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick), frames, stuck_after=0.1)
    pipeline.start()
    _feed(frames, 10)
    for _ in range(3):
        assert stuck.acquire(timeout=_DEADLINE)
    assert not stuck.acquire(timeout=0.6)
    assert pipeline.at_one_frame_s > 0.5
    block.set()  # they come back: their places can be filled again
    assert stuck.acquire(timeout=_DEADLINE)
    assert [result.frame.index for result in pipeline] == list(range(3, 10))


def test_a_stuck_inference_does_not_hold_up_stopping(block: threading.Event) -> None:
    entered = threading.Event()

    def stick(_: int) -> None:
        entered.set()
        block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick), frames, stuck_after=60)
    pipeline.start()
    _feed(frames, 3)
    assert entered.wait(_DEADLINE)
    pipeline.stop()
    assert list(pipeline) == []
    assert not pipeline.join(0.1)


def test_a_swap_changes_the_model_between_two_frames_and_loses_none() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(2, name="old"), frames)
    pipeline.start()
    _feed(frames, 60)
    results = []
    for result in pipeline:
        results.append(result)
        if result.frame.index == 20:
            pipeline.swap(_model(2, name="new"))
    assert [result.frame.index for result in results] == list(range(60))
    _assert_own_boxes(results)
    models = [result.model.partition("@")[0] for result in results]
    assert models == sorted(models, reverse=True)
    assert set(models) == {"old", "new"}
    assert pipeline.model.startswith("new@")


def test_a_model_with_another_number_of_places_is_refused() -> None:
    pipeline = _pipeline(_model(2), FrameQueue(drop_oldest=False))
    with pytest.raises(ValueError, match="1 places and the old one 2"):
        pipeline.swap(_model(1))


def test_what_a_stage_raises_is_raised_where_results_are_taken() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(), frames)
    pipeline.start()
    without_pixels = Frame(np.zeros((0, 0, 3), dtype=np.uint8), datetime.now(timezone.utc), 0, 0)
    frames.put(without_pixels)
    with pytest.raises(cv2.error):
        list(pipeline)
    assert pipeline.join(_DEADLINE)


def test_a_class_without_a_label_ends_in_one_line() -> None:
    # A model without the post-processing op does not say how many classes it has; this one does find a third.
    bundle = replace(_bundle(("red", "green")), model=edge_finder())
    # The noise that it is tried with at start is not this blue.
    model = LoadedModel(bundle, DetectorOptions(threads=1, threshold=0.99), places=1)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(model, frames)
    pipeline.start()
    blue = Frame(painted((64, 64), {(255, 0, 0): (0, 0, 8, 8)}), datetime.now(timezone.utc), 0, 0)
    frames.put(blue)
    with pytest.raises(InputError, match="found class 2, but there are only 2 labels"):
        list(pipeline)
    pipeline.stop()
    assert pipeline.join(_DEADLINE)
