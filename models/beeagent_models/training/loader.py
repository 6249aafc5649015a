"""Loads batches of composed images with worker processes; the seed alone determines the batches."""

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
"""Maximum number of objects per image; further ones are ignored regions."""

# Returns the index of the matched object of each anchor, or a negative number.
Matcher = Callable[[Crop], NDArray[np.int64]]

_PREFETCH_PER_WORKER = 3
# Number of batches that are unpickled during a step: on a GPU, unpickling takes a large part of a step.
_PREFETCH_UNPICKLED = 2
_POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of images with ground truth and anchor matches.

    Attributes:
        images: uint8, shape (batch, height, width, 3), RGB.
        matches: int16, shape (batch, anchors): the index of the matched object, `matching.NO_OBJECT` or
            `matching.IGNORED`.
        boxes: float32, shape (batch, MAX_OBJECTS, 4): left, top, right, bottom in pixels, zero-padded.
        class_ids: int32, shape (batch, MAX_OBJECTS), zero-padded.
    """

    images: NDArray[np.uint8]
    matches: NDArray[np.int16]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """Options of a loader.

    Attributes:
        store: folder of the image store.
        mix: composition of the images.
        seed: random seed; seed and step determine a batch.
        width: image width in pixels.
        height: image height in pixels.
        batch_size: number of images per batch.
        first_step: step of the first batch.
        last_step: step after the last batch.
        first_image: index of the first image in the batch of all processes of a run.
    """

    store: Path
    mix: Mix
    seed: int
    width: int
    height: int
    batch_size: int
    first_step: int
    last_step: int
    first_image: int = 0


def make_batch(composer: Composer, match: Matcher, options: LoaderOptions, step: int) -> Batch:
    """Compose the batch of a step deterministically."""
    size = options.batch_size
    images = np.empty((size, options.height, options.width, 3), np.uint8)
    boxes = np.zeros((size, MAX_OBJECTS, 4), np.float32)
    class_ids = np.zeros((size, MAX_OBJECTS), np.int32)
    matches = []
    for number in range(size):
        rng = np.random.default_rng([options.seed, step, options.first_image + number])
        crop = _limit_objects(composer.compose(rng, width=options.width, height=options.height))
        images[number] = crop.pixels[..., ::-1]
        boxes[number, : len(crop.boxes)] = crop.boxes
        class_ids[number, : len(crop.boxes)] = crop.class_ids
        matches.append(match(crop))
    return Batch(images, np.stack(matches).astype(np.int16), boxes, class_ids)


def _limit_objects(crop: Crop) -> Crop:
    if len(crop.boxes) <= MAX_OBJECTS:
        return crop
    rest = crop.boxes[MAX_OBJECTS:]
    return Crop(
        crop.pixels, crop.boxes[:MAX_OBJECTS], crop.class_ids[:MAX_OBJECTS], np.concatenate([crop.ignored, rest])
    )


class BatchLoader:
    """Prefetches the batches of consecutive steps with worker processes.

    A context manager; the processes end with the block.

    Args:
        options: options of the loader.
        match: matches anchors with objects; must be picklable.
        workers: number of processes, at least 1. The batches do not depend on it.

    Raises:
        BeeagentError: a worker process ended or failed; raised by `next_batch`.
    """

    def __init__(self, options: LoaderOptions, match: Matcher, *, workers: int) -> None:
        self._options, self._match, self._workers = options, match, workers
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._queues: list[Any] = []
        self._receiver = ThreadPoolExecutor(1)
        self._received: deque[Future[Batch]] = deque()
        self._step = options.first_step

    def __enter__(self) -> "BatchLoader":  # noqa: PYI034 - typing has Self from Python 3.11 on
        # A forked process would inherit threads and locks of the running backend.
        context = multiprocessing.get_context("spawn")
        for worker in range(self._workers):
            batches = context.Queue(_PREFETCH_PER_WORKER)
            process = context.Process(
                target=_work, args=(self._options, self._match, worker, self._workers, batches), daemon=True
            )
            process.start()
            self._queues.append(batches)
            self._processes.append(process)
        self._received.extend(self._receiver.submit(self._receive) for _ in range(_PREFETCH_UNPICKLED))
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
        """Wait for the batch of the next step and return it."""
        self._received.append(self._receiver.submit(self._receive))
        return self._received.popleft().result()

    def _receive(self) -> Batch:
        worker = (self._step - self._options.first_step) % self._workers
        item = self._wait_for_item(worker)
        if isinstance(item, str):
            raise BeeagentError(f"loader process {worker} failed at step {self._step}: {item}")
        self._step += 1
        return Batch(*item)

    def _wait_for_item(self, worker: int) -> Any:  # noqa: ANN401 - the arrays of a batch, or an error text
        while True:
            # Checked before the queue: everything that a dead process sent is in the queue.
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
                batches.cancel_join_thread()  # nobody reads the rest of the queue
                return
    except Exception as error:  # noqa: BLE001 - the main process raises it
        batches.put(f"{type(error).__name__}: {error}")


def _put(batches: Any, item: object) -> bool:  # noqa: ANN401 - a queue of any context
    """Wait for space in the queue and put the item; return False if the main process has ended."""
    run = multiprocessing.parent_process()
    while run is None or run.is_alive():
        with contextlib.suppress(queue.Full):
            batches.put(item, timeout=_POLL_SECONDS)
            return True
    return False
