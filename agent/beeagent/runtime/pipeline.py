"""The stages between a frame and its detections, overlapping in threads of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from beeagent.backoff import Backoff
from beeagent.camera import Frame, FrameQueue, QueueClosedError
from beeagent.detection.detections import Detections
from beeagent.detection.loaded import LoadedModel
from beeagent.priority import give_way
from beeagent.runtime.inference import InferenceWorkers, Inferred, Prepared
from beeagent.runtime.reorder import ReorderBuffer


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What was found in one frame.

    Attributes:
        frame: what was looked at.
        model: identity of the model that looked.
        detections: what was found.
        inference_ms: time in the model alone, in milliseconds.
        unsure: where the model is unsure, all that it found, also what does not count; else None.
    """

    frame: Frame
    model: str
    detections: Detections
    inference_ms: float
    unsure: Detections | None = None


class Pipeline:
    """Turns frames into results, in order.

    While the model computes, the next frame is laid into its input form and the last one's outputs are read, so that
    the model never waits for either. In a model of several places, as many frames are looked at at the same time. Of
    a live source only the newest prepared frame is kept, so that a result is never older than one wait for the model
    and one inference; of files, every frame is looked at.

    Iterating gives the results, and ends when the frames have ended or `stop` was called. What a stage raises is
    raised there.
    """

    def __init__(  # noqa: PLR0913 - the two ends of the stages, and what they put up with and tell
        self,
        *,
        model: LoadedModel,
        frames: FrameQueue[Frame],
        keep: Literal["newest", "every"],
        on_trouble: Callable[[str | None], None],
        stuck_after: float = 10.0,
        backoff: Backoff | None = None,
    ) -> None:
        """Set up the stages; nothing runs before `start`.

        Args:
            model: used by this pipeline alone from here on.
            frames: where the frames come from; closed at their end by whoever fills it.
            keep: `newest` for a live source, `every` for files.
            on_trouble: told when an inference is stuck and when one comes through again; see `InferenceWorkers`.
            stuck_after: seconds from which an inference counts as stuck, above 0.
            backoff: the waits before another worker takes the place of a stuck one; None for the usual ones.
        """
        self._model = model
        self._frames = frames
        self._prepared: FrameQueue[Prepared] = FrameQueue(drop_oldest=keep == "newest")
        self._inferred: ReorderBuffer[Inferred] = ReorderBuffer(model.places)
        self._failure: Exception | None = None
        self._preparing = threading.Thread(target=self._prepare, name="prepare", daemon=True)
        self._workers = InferenceWorkers(
            places=model.places,
            prepared=self._prepared,
            inferred=self._inferred,
            on_failure=self._fail,
            on_trouble=on_trouble,
            stuck_after=stuck_after,
            backoff=backoff,
        )

    @property
    def lost(self) -> int:
        """How many frames were given up because the model did not come back from them."""
        return self._workers.lost

    @property
    def replaced(self) -> int:
        """How many prepared frames a newer one replaced before the model took them."""
        return self._prepared.replaced

    @property
    def at_one_frame_s(self) -> float:
        """Seconds for which the model has been at the frame that it is longest at; 0 if it waits for frames."""
        return self._workers.at_one_frame_s

    @property
    def model(self) -> str:
        """Identity of the model that is to look at the next frame."""
        return self._model.identity

    def start(self) -> None:
        """Start the stages."""
        self._preparing.start()
        self._workers.start()

    def swap(self, model: LoadedModel) -> None:
        """Let another model look at all frames from the next one on; no frame is left out for it.

        Args:
            model: with as many places as the one before; used by this pipeline alone from here on.
        """
        if model.places != self._model.places:
            raise ValueError(f"the new model has {model.places} places and the old one {self._model.places}")
        self._model = model

    def stop(self) -> None:
        """Let the stages end after the frame they are at. Safe to call twice, from any thread."""
        for passage in (self._frames, self._prepared, self._inferred):
            passage.close()
        self._workers.stop()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the stages to end, and say whether they did."""
        deadline = time.monotonic() + timeout
        self._preparing.join(timeout)
        ended = self._workers.join(max(0.0, deadline - time.monotonic()))
        return ended and not self._preparing.is_alive()

    def __iter__(self) -> Iterator[FrameResult]:
        """Give the results as they come.

        Raises:
            InputError: the model gave a class that the labels do not name.
        """
        for item in self._inferred:
            detections, unsure = item.model.decode(item.raw, item.layout)
            yield FrameResult(item.frame, item.model.identity, detections, item.inference_ms, unsure)
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> None:
        give_way()
        try:
            for frame in self._frames:
                model = self._model
                self._prepared.put(Prepared(frame, model, model.prepare(frame.pixels)))
        except QueueClosedError:
            pass  # stopped: nobody wants any more frames
        except Exception as error:  # noqa: BLE001 - kept for whoever iterates, who is on another thread
            self._fail(error)
        finally:
            self._prepared.close()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.stop()
