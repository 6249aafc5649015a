"""Batches of composed pictures, made ahead by processes of their own, in an order that only the seed decides."""

import multiprocessing
import queue
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from beeagent.errors import BeeagentError
from numpy.typing import NDArray

from beeagent_models.datasets.augment_geometry import Crop
from beeagent_models.datasets.augment_scene import SceneComposer, Sizes
from beeagent_models.datasets.loader_store import PictureStore

# Turns the crop's labels into what the loss compares with, one array an output of the network.
Targets = Callable[[Crop], tuple[NDArray[np.float32], NDArray[np.float32]]]

_BATCHES_AHEAD = 3
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures and what the network should say to them.

    Attributes:
        images: uint8, shape (batch, size, size, 3), RGB.
        boxes: float32, shape (batch, ...): the targets of the box head.
        classes: float32, shape (batch, ...): the targets of the class head.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What the loader's processes need to know.

    Attributes:
        store: folder of the picture store.
        seed: with the number of the step, decides each batch.
        size: width and height of the pictures in pixels.
        batch_size: pictures a batch.
        synthetic_fraction: share of pictures that no camera took any part of.
        sizes: of the objects.
        first_step: the step of the first batch.
        last_step: the step after that of the last batch.
    """

    store: Path
    seed: int
    size: int
    batch_size: int
    synthetic_fraction: float
    sizes: Sizes
    first_step: int
    last_step: int


def make_batch(composer: SceneComposer, targets: Targets, options: LoaderOptions, step: int) -> Batch:
    """Compose the batch of one step; depends on nothing but its arguments."""
    images, boxes, classes = [], [], []
    for number in range(options.batch_size):
        rng = np.random.default_rng([options.seed, step, number])
        crop = composer.compose(rng, size=options.size)
        box_target, class_target = targets(crop)
        images.append(crop.pixels[..., ::-1])
        boxes.append(box_target)
        classes.append(class_target)
    return Batch(np.stack(images), np.stack(boxes), np.stack(classes))


class BatchLoader:
    """Gives the batches of a run of steps, in order, made ahead by worker processes.

    A context manager; its processes end with the block.

    Args:
        options: what to make.
        targets: makes the targets; is sent to the processes, so it must be picklable.
        workers: number of processes, at least 1. The batches do not depend on it.

    Raises:
        BeeagentError: from `next_batch`: a worker process ended or failed.
    """

    def __init__(self, options: LoaderOptions, targets: Targets, *, workers: int) -> None:
        self._options, self._targets, self._workers = options, targets, workers
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._queues: list[Any] = []
        self._step = options.first_step

    def __enter__(self) -> "BatchLoader":  # noqa: PYI034 - typing has Self from Python 3.11 on
        # Processes started afresh share no threads or locks with a running TensorFlow.
        context = multiprocessing.get_context("spawn")
        for worker in range(self._workers):
            batches = context.Queue(_BATCHES_AHEAD)
            process = context.Process(
                target=_work, args=(self._options, self._targets, worker, self._workers, batches), daemon=True
            )
            process.start()
            self._queues.append(batches)
            self._processes.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process, batches in zip(self._processes, self._queues, strict=True):
            process.join()
            batches.cancel_join_thread()
            batches.close()

    def next_batch(self) -> Batch:
        """Give the batch of the next step, waiting for it where need be."""
        worker = (self._step - self._options.first_step) % self._workers
        item = self._wait_for_item(worker)
        if isinstance(item, str):
            raise BeeagentError(f"loader process {worker} failed at step {self._step}: {item}")
        self._step += 1
        return Batch(*item)

    def _wait_for_item(self, worker: int) -> Any:  # noqa: ANN401 - a batch's arrays, or the words of a failure
        while True:
            # Asked before looking: what a process sent before its end is there once it has ended.
            alive = self._processes[worker].is_alive()
            try:
                return self._queues[worker].get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if not alive:
                    code = self._processes[worker].exitcode
                    raise BeeagentError(
                        f"loader process {worker} ended with code {code} at step {self._step}"
                    ) from None


def _work(options: LoaderOptions, targets: Targets, worker: int, workers: int, batches: Any) -> None:  # noqa: ANN401 - a queue of any context
    cv2.setNumThreads(1)
    try:
        composer = SceneComposer(
            PictureStore(options.store), synthetic_fraction=options.synthetic_fraction, sizes=options.sizes
        )
        for step in range(options.first_step + worker, options.last_step, workers):
            batch = make_batch(composer, targets, options, step)
            batches.put((batch.images, batch.boxes, batch.classes))
    except Exception as error:  # noqa: BLE001 - whatever it is, the process that waits for the batch must hear of it
        batches.put(f"{type(error).__name__}: {error}")
