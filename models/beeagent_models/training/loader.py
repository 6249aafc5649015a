"""Batches of composed images, made ahead by worker processes, in an order that only the seed decides."""

import contextlib
import multiprocessing
import queue
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from beeagent.errors import BeeagentError
from numpy.typing import NDArray

from beeagent_models.augmentation.composer import Composer, Mix
from beeagent_models.augmentation.geometry import Crop
from beeagent_models.augmentation.store import ImageStore

MAX_OBJECTS = 128
"""Objects of an image beyond this number count neither as object nor as background."""

# Returns the index of the object that each anchor is responsible for, or a negative number.
Matcher = Callable[[Crop], NDArray[np.int64]]

_BATCHES_AHEAD = 3
# Of these, so many are unpickled while a step is computed: on a GPU, that takes a fair part of a step.
_RECEIVED_AHEAD = 2
_POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and what is in them.

    Attributes:
        images: uint8, shape (batch, height, width, 3), RGB.
        matches: int16, shape (batch, anchors): the index of the object that each anchor is responsible for, or
            `matching.NO_OBJECT` or `matching.IGNORED`.
        boxes: float32, shape (batch, MAX_OBJECTS, 4): left, top, right, bottom in pixels; padded.
        class_ids: int32, shape (batch, MAX_OBJECTS): padded.
    """

    images: NDArray[np.uint8]
    matches: NDArray[np.int16]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What the worker processes need to know.

    Attributes:
        store: folder of the image store.
        mix: what the images are made of.
        seed: with the number of the step, decides each batch.
        width: of the images in pixels.
        height: likewise.
        batch_size: images in a batch.
        first_step: the step of the first batch.
        last_step: the step after that of the last batch.
    """

    store: Path
    mix: Mix
    seed: int
    width: int
    height: int
    batch_size: int
    first_step: int
    last_step: int


def make_batch(composer: Composer, match: Matcher, options: LoaderOptions, step: int) -> Batch:
    """Compose the batch of one step; depends on nothing but its arguments."""
    size = options.batch_size
    images = np.empty((size, options.height, options.width, 3), np.uint8)
    boxes = np.zeros((size, MAX_OBJECTS, 4), np.float32)
    class_ids = np.zeros((size, MAX_OBJECTS), np.int32)
    matches = []
    for number in range(size):
        rng = np.random.default_rng([options.seed, step, number])
        crop = _limited(composer.compose(rng, width=options.width, height=options.height))
        images[number] = crop.pixels[..., ::-1]
        boxes[number, : len(crop.boxes)] = crop.boxes
        class_ids[number, : len(crop.boxes)] = crop.class_ids
        matches.append(match(crop))
    return Batch(images, np.stack(matches).astype(np.int16), boxes, class_ids)


def _limited(crop: Crop) -> Crop:
    if len(crop.boxes) <= MAX_OBJECTS:
        return crop
    rest = crop.boxes[MAX_OBJECTS:]
    return Crop(
        crop.pixels, crop.boxes[:MAX_OBJECTS], crop.class_ids[:MAX_OBJECTS], np.concatenate([crop.ignored, rest])
    )


class BatchLoader:
    """Returns the batches of a run of steps, in order, made ahead by worker processes.

    A context manager; its processes end with the block.

    Args:
        options: what to make.
        match: matches anchors with objects; is sent to the processes, so it must be picklable.
        workers: number of processes, at least 1. The batches do not depend on it.

    Raises:
        BeeagentError: from `next_batch`: a worker process ended or failed.
    """

    def __init__(self, options: LoaderOptions, match: Matcher, *, workers: int) -> None:
        self._options, self._match, self._workers = options, match, workers
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._queues: list[Any] = []
        self._receiver = ThreadPoolExecutor(1)
        self._received: deque[Future[Batch]] = deque()
        self._step = options.first_step

    def __enter__(self) -> "BatchLoader":  # noqa: PYI034 - typing has Self from Python 3.11 on
        # Processes started afresh share no threads or locks with a running backend.
        context = multiprocessing.get_context("spawn")
        for worker in range(self._workers):
            batches = context.Queue(_BATCHES_AHEAD)
            process = context.Process(
                target=_work, args=(self._options, self._match, worker, self._workers, batches), daemon=True
            )
            process.start()
            self._queues.append(batches)
            self._processes.append(process)
        self._received.extend(self._receiver.submit(self._receive) for _ in range(_RECEIVED_AHEAD))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receiver.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.terminate()
        for process, batches in zip(self._processes, self._queues, strict=True):
            process.join()
            batches.cancel_join_thread()
            batches.close()

    def next_batch(self) -> Batch:
        """Return the batch of the next step, waiting for it where need be."""
        self._received.append(self._receiver.submit(self._receive))
        return self._received.popleft().result()

    def _receive(self) -> Batch:
        worker = (self._step - self._options.first_step) % self._workers
        item = self._wait_for_item(worker)
        if isinstance(item, str):
            raise BeeagentError(f"loader process {worker} failed at step {self._step}: {item}")
        self._step += 1
        return Batch(*item)

    def _wait_for_item(self, worker: int) -> Any:  # noqa: ANN401 - a batch's arrays, or the text of a failure
        while True:
            # Asked first: what a process sent before its end is there once it has ended.
            alive = self._processes[worker].is_alive()
            try:
                return self._queues[worker].get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not alive:
                    code = self._processes[worker].exitcode
                    raise BeeagentError(
                        f"loader process {worker} ended with code {code} at step {self._step}"
                    ) from None


def _work(options: LoaderOptions, match: Matcher, worker: int, workers: int, batches: Any) -> None:  # noqa: ANN401 - a queue of any context
    cv2.setNumThreads(1)
    try:
        composer = Composer(ImageStore(options.store), options.mix)
        for step in range(options.first_step + worker, options.last_step, workers):
            batch = make_batch(composer, match, options, step)
            if not _put(batches, (batch.images, batch.matches, batch.boxes, batch.class_ids)):
                batches.cancel_join_thread()  # nobody will take what is still in the queue
                return
    except Exception as error:  # noqa: BLE001 - the process that waits for the batch reports it
        batches.put(f"{type(error).__name__}: {error}")


def _put(batches: Any, item: object) -> bool:  # noqa: ANN401 - a queue of any context
    """Wait for a free place in the queue; return False if the run was killed meanwhile."""
    run = multiprocessing.parent_process()
    while run is None or run.is_alive():
        with contextlib.suppress(queue.Full):
            batches.put(item, timeout=_POLL_SECONDS)
            return True
    return False
