"""Pipeline stages overlap, keep order, replace stuck workers, and raise exceptions in the consumer."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame, FrameQueue, QueueClosedError
from beeagent.detection import (
    NO_MASKS,
    Detector,
    DetectorOptions,
    DetectorPool,
    Masks,
    ModelBundle,
    PreparedFrame,
    RawOutputs,
    RegionOptions,
    Tiling,
)
from beeagent.errors import InputError
from beeagent.runtime.pipeline import FrameResult, Pipeline
from beeagent.threads import Backoff
from support.tiny_models import RED, edge_finder, painted, square_finder

_DEADLINE = 45.0


def _bundle(labels: tuple[str, ...] = ("red",), classes: int = 1, name: str = "tiny") -> ModelBundle:
    return ModelBundle(
        path=Path("tiny.tflite"), name=name, sha256="0" * 64, model=square_finder(classes=classes), labels=labels,
        input=None, threshold=0.5, manifest=None,
    )  # fmt: skip


def _model(places: int = 1, *, name: str = "tiny") -> DetectorPool:
    return DetectorPool(_bundle(name=name), DetectorOptions(threads=1), size=places)


class _Model(DetectorPool):
    """A real model that first calls `before` with its index in the pool."""

    def __init__(self, places: int, before: Callable[[int], None]) -> None:
        super().__init__(_bundle(), DetectorOptions(threads=1), size=places)
        self._before = before

    def infer(
        self, place: int, prepared: PreparedFrame, *, on_inference: Callable[[], object] | None = None
    ) -> tuple[RawOutputs, ...]:
        detector = self._detector(place)  # as a stuck one does: it returns from its own
        self._before(place)
        return detector.infer(prepared, on_inference=on_inference)


def _pipeline(
    model: DetectorPool, frames: FrameQueue[Frame], *, live: bool = False, inference_timeout: float = 60,
    stopping: threading.Event | None = None,
) -> Pipeline:  # fmt: skip
    problems: list[str | None] = []
    pipeline = Pipeline(
        model=model, frames=frames, drop_oldest=live, on_problem=problems.append,
        stopping=stopping or threading.Event(), inference_timeout=inference_timeout,
        backoff=Backoff(first=0.01, longest=0.02),
    )  # fmt: skip
    pipeline.problems = problems  # type: ignore[attr-defined]
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
def test_results_are_in_order_with_their_own_boxes(places: int) -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(places), frames)
    pipeline.start()
    _feed(frames, 50)
    results = list(pipeline)
    assert [result.frame.index for result in results] == list(range(50))
    _assert_own_boxes(results)
    assert pipeline.join(_DEADLINE)


def _waving(index: int) -> Frame:
    x = 300 + 40 * (index % 3)
    pixels = np.full((512, 512, 3), 255, dtype=np.uint8)
    pixels[400:464, x : x + 64] = RED
    return Frame(pixels, datetime.now(timezone.utc), 0, index, position_s=index / 30)


def test_masks_in_use_drop_detections_and_motion_of_each_frame() -> None:
    """Masks that change while the pipeline runs take effect, without another model."""
    model = DetectorPool(
        _bundle(), DetectorOptions(threads=1, tiling=Tiling(2, 2)), size=1, regions=RegionOptions()
    )  # fmt: skip
    lower_half = Masks((((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)),))
    in_use = [NO_MASKS]
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = Pipeline(
        model=model, frames=frames, drop_oldest=False, on_problem=lambda _: None, stopping=threading.Event(),
        masks=lambda: in_use[0],
    )  # fmt: skip
    pipeline.start()
    results = iter(pipeline)
    seen: list[FrameResult] = []
    for index in range(80):
        in_use[0] = NO_MASKS if index < 40 else lower_half
        frames.put(_waving(index))
        seen.append(next(results))
    frames.close()
    assert next(results, None) is None
    before, after = seen[10:40], seen[50:]
    assert all(len(result.detections) for result in before)
    assert all(not len(result.detections) for result in after)
    # About a third of the frames of a second have one, for the parts whose turn it is.
    assert sum(result.inferences for result in after) < len(after) / 2 < sum(result.inferences for result in before)


def test_no_frames_give_no_results() -> None:
    """Regression: a worker that ended while the next one started prevented its start, and the end of the results."""
    model = _model(5)
    for _ in range(50):
        frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
        frames.close()
        pipeline = _pipeline(model, frames)
        pipeline._prepared.close()
        pipeline.start()
        assert list(pipeline) == []
        assert pipeline.join(_DEADLINE)


def test_stop_ends_iteration_and_threads() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=True)
    pipeline = _pipeline(_model(), frames, live=True)
    pipeline.start()
    frames.put(_frame(0))
    results = iter(pipeline)
    assert next(results).frame.index == 0
    threading.Timer(0, pipeline.stop).start()
    assert list(results) == []
    assert pipeline.join(_DEADLINE)
    with pytest.raises(QueueClosedError):
        frames.put(_frame(1))


def test_two_frames_are_processed_in_parallel() -> None:
    meeting = threading.Barrier(2)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(2, lambda _: meeting.wait(_DEADLINE) and None), frames)
    pipeline.start()
    _feed(frames, 2)
    assert [result.frame.index for result in pipeline] == [0, 1]


def test_exception_in_one_worker_ends_both() -> None:
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
    """Return an event for which a stuck inference waits; it is set at the end, so that no thread remains."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("places", [1, 2])
def test_stuck_inference_loses_only_its_frame(places: int, block: threading.Event) -> None:
    calls: list[int] = []

    def stick_once(place: int) -> None:
        calls.append(place)
        if len(calls) == 5:
            block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(places, stick_once), frames, inference_timeout=1)
    pipeline.start()
    _feed(frames, 50)
    results = list(pipeline)
    indices = [result.frame.index for result in results]
    assert len(indices) == 49
    assert indices == sorted(set(indices))
    _assert_own_boxes(results)
    assert pipeline.lost == 1
    assert pipeline.problems == ["an inference has taken more than 1 s; its thread is replaced", None]  # type: ignore[attr-defined]
    assert pipeline.join(_DEADLINE)


class _Clock:
    """Stands in for the module `time`: its monotonic time stands still until it is set."""

    perf_counter_ns = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        self.now = 1000.0
        self._read = threading.Condition()
        self._reads = 0

    def monotonic(self) -> float:
        with self._read:
            self._reads += 1
            self._read.notify_all()
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance, and wait until another thread has read the time a few times."""
        self.now += seconds
        with self._read:
            wanted = self._reads + 5
            assert self._read.wait_for(lambda: self._reads >= wanted, _DEADLINE)


def test_each_inference_of_a_frame_has_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine, the five inferences of 2x2 tiles took longer than one may, and no frame was ever processed."""
    clock = _Clock()
    monkeypatch.setattr("beeagent.runtime.pipeline.time", clock)
    began: list[float] = []

    class Slow(DetectorPool):
        def infer(
            self, worker: int, prepared: PreparedFrame, *, on_inference: Callable[[], object] | None = None
        ) -> tuple[RawOutputs, ...]:
            def begin() -> None:
                assert on_inference is not None
                on_inference()
                began.append(clock.now)
                clock.advance(0.6)

            return super().infer(worker, prepared, on_inference=begin)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    model = Slow(_bundle(), DetectorOptions(threads=1, tiling=Tiling(2, 2)), size=1)
    pipeline = _pipeline(model, frames, inference_timeout=1)
    pipeline.start()
    _feed(frames, 2)
    assert [result.frame.index for result in pipeline] == [0, 1]
    assert len(began) == 10
    assert pipeline.lost == 0


def test_abandoned_loading_thread_keeps_its_own_interpreter(block: threading.Event) -> None:
    """It stored its detector, and so its successor ran the same interpreter at the same time."""
    model = _model()
    model.abandon(0)
    load, loading = model._load, threading.Event()

    def slow_load() -> Detector:
        if not loading.is_set():
            loading.set()
            block.wait(_DEADLINE)
        return load()

    model._load = slow_load  # type: ignore[assignment]
    first = threading.Thread(target=model._detector, args=(0,), daemon=True)
    first.start()
    assert loading.wait(_DEADLINE)
    model.abandon(0)
    successors = model._detector(0)
    block.set()
    first.join(_DEADLINE)
    assert model._detector(0) is successors


def test_late_exception_of_stuck_inference_is_ignored(block: threading.Event) -> None:
    calls: list[int] = []

    def stick_and_fail(place: int) -> None:
        calls.append(place)
        if len(calls) == 1:
            block.wait(_DEADLINE)
            raise RuntimeError("too late")
        if len(calls) == 20:
            block.set()

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick_and_fail), frames, inference_timeout=1)
    pipeline.start()
    _feed(frames, 40)
    assert [result.frame.index for result in pipeline] == list(range(1, 40))


def test_at_most_three_threads_are_abandoned(block: threading.Event) -> None:
    stuck = threading.Semaphore(0)

    def stick(_: int) -> None:
        stuck.release()
        block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick), frames, inference_timeout=0.3)
    pipeline.start()
    _feed(frames, 10)
    results: list[FrameResult] = []
    consumer = threading.Thread(target=lambda: results.extend(pipeline), daemon=True)
    consumer.start()
    for _ in range(3):
        assert stuck.acquire(timeout=_DEADLINE)
    assert not stuck.acquire(timeout=0.6)
    assert pipeline.busy_s > 0.5
    block.set()  # they return: their places can be filled again
    assert stuck.acquire(timeout=_DEADLINE)
    consumer.join(_DEADLINE)
    assert [result.frame.index for result in results] == list(range(3, 10))


def test_stuck_inference_does_not_delay_stop(block: threading.Event) -> None:
    entered = threading.Event()

    def stick(_: int) -> None:
        entered.set()
        block.wait(_DEADLINE)

    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_Model(1, stick), frames, inference_timeout=60)
    pipeline.start()
    _feed(frames, 3)
    assert entered.wait(_DEADLINE)
    pipeline.stop()
    assert list(pipeline) == []
    assert not pipeline.join(0.1)


def test_stop_event_ends_iteration() -> None:
    stopping = threading.Event()
    pipeline = _pipeline(_model(), FrameQueue(drop_oldest=True), live=True, stopping=stopping)
    pipeline.start()
    threading.Timer(0, stopping.set).start()
    assert list(pipeline) == []
    pipeline.stop()
    assert pipeline.join(_DEADLINE)


def test_idle_is_called_only_while_no_frame_is_processed(block: threading.Event) -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    stopping, idle, began = threading.Event(), threading.Event(), threading.Event()
    calls: list[float] = []

    def wait(_: int) -> None:
        began.set()
        block.wait(_DEADLINE)

    def note() -> None:
        calls.append(pipeline.busy_s)
        idle.set()

    pipeline = Pipeline(
        model=_Model(1, wait), frames=frames, drop_oldest=False, on_problem=lambda _: None, stopping=stopping,
        inference_timeout=60, on_idle=note,
    )  # fmt: skip
    pipeline.start()
    results: list[FrameResult] = []
    iterating = threading.Thread(target=lambda: results.extend(pipeline), daemon=True)
    iterating.start()
    assert idle.wait(_DEADLINE)
    frames.put(_frame(0))
    assert began.wait(_DEADLINE)
    while pipeline.busy_s < 0.3:  # three checks
        iterating.join(0.01)
    idle.clear()
    block.set()
    assert idle.wait(_DEADLINE)
    stopping.set()
    iterating.join(_DEADLINE)
    pipeline.stop()
    assert pipeline.join(_DEADLINE)
    assert len(results) == 1
    assert set(calls) == {0.0}


def test_handling_of_a_result_counts_as_busy() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(), frames)
    pipeline.start()
    _feed(frames, 1)
    results = iter(pipeline)
    next(results)
    began = time.monotonic()
    while pipeline.busy_s < 0.01:
        assert time.monotonic() - began < _DEADLINE
    assert list(results) == []
    assert pipeline.busy_s == 0


def test_failed_handling_of_a_result_is_not_busy() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(), frames)
    pipeline.start()
    _feed(frames, 1)

    def handle() -> None:
        for _ in pipeline:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        handle()
    assert pipeline.join(_DEADLINE)
    assert pipeline.busy_s == 0


def test_swap_changes_model_between_frames_and_loses_none() -> None:
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


def test_swap_to_another_number_of_detectors_is_rejected() -> None:
    pipeline = _pipeline(_model(2), FrameQueue(drop_oldest=False))
    with pytest.raises(ValueError, match="1 detectors and the old one 2"):
        pipeline.swap(_model(1))


def test_exception_in_stage_is_raised_by_iteration() -> None:
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(_model(), frames)
    pipeline.start()
    without_pixels = Frame(np.zeros((0, 0, 3), dtype=np.uint8), datetime.now(timezone.utc), 0, 0)
    frames.put(without_pixels)
    with pytest.raises(cv2.error):
        list(pipeline)
    assert pipeline.join(_DEADLINE)


def test_class_without_label_is_an_input_error() -> None:
    # A model without the post-processing op does not say how many classes it has; this one does find a third.
    bundle = replace(_bundle(("red", "green")), model=edge_finder())
    # The noise that it is tried with at start is not this blue.
    model = DetectorPool(bundle, DetectorOptions(threads=1, threshold=0.99), size=1)
    frames: FrameQueue[Frame] = FrameQueue(drop_oldest=False)
    pipeline = _pipeline(model, frames)
    pipeline.start()
    blue = Frame(painted((64, 64), {(255, 0, 0): (0, 0, 8, 8)}), datetime.now(timezone.utc), 0, 0)
    frames.put(blue)
    with pytest.raises(InputError, match="returned class 2, but there are only 2 labels"):
        list(pipeline)
    pipeline.stop()
    assert pipeline.join(_DEADLINE)
