"""The wiring: builds the stages from the settings, starts and stops them."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from beeagent.camera import Capture, Frame, FrameQueue, IncompleteVideoError
from beeagent.detection import ModelBundle
from beeagent.errors import InputError
from beeagent.messages import CameraCounts
from beeagent.mqtt import BrokerAddress
from beeagent.outbox import DeadLetterFile, Delivery, Publisher, Sender
from beeagent.runtime.decision import Decision, Decisions
from beeagent.runtime.factory import (
    chosen_capture_limits,
    chosen_outbox,
    chosen_source,
    loaded_model,
)
from beeagent.runtime.frame_message import FrameMessages
from beeagent.runtime.health import Health
from beeagent.runtime.line_output import LineOutput
from beeagent.runtime.pipeline import FrameResult, Pipeline
from beeagent.runtime.publisher_factory import chosen_publisher
from beeagent.runtime.reload import ModelReload
from beeagent.runtime.second_opinion_factory import chosen_collection, chosen_second_opinion, second_opinion_status
from beeagent.runtime.status_reporter import Supervisor
from beeagent.runtime.systemd import ServiceNotifier
from beeagent.runtime.work_clock import WorkClock
from beeagent.settings import Settings
from beeagent.shown_text import shown
from beeagent.thread_guard import ThreadGuard

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection

_LOG = logging.getLogger(__name__)

# Told to stop, the agent is gone within 3 s: all of it but Python's own end has the first of these, and of that time
# what makes results has the second.
_STOP_WITHIN_S = 2.7
_STAGES_END_WITHIN_S = 1.0
_DRAIN_WITHIN_S = 10.0  # at the end of a file, where nobody waits


class Agent:
    """Looks at one camera until it ends or is stopped, and sends what it sees on its way.

    Args:
        settings: what to do; its camera must be set.
        bundle: the model.
        outbox_path: where results wait; None for memory alone.
        broker: where results go, in place of what the settings say.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        on_result: told of each frame's result, on the thread of `run`; None for nobody.
        stopping: set to make `run` return soon, as `stop` does; None for an event of its own.

    Raises:
        InputError: something in the settings cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what distinguishes an agent
        self,
        settings: Settings,
        *,
        bundle: ModelBundle,
        outbox_path: Path | None,
        broker: BrokerAddress | None = None,
        ipc: "IpcConnection | None" = None,
        on_result: Callable[[FrameResult], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._on_result = on_result
        source = chosen_source(settings)
        self._stopping = stopping or threading.Event()
        self._output = LineOutput(self._stopping)
        self._handling = WorkClock()
        self._left_behind = False
        self._failure: str | None = None
        frames: FrameQueue[Frame] = FrameQueue(drop_oldest=source.live)
        self._capture = Capture(
            source,
            frames,
            on_state=lambda fine, reason: self.note_trouble("camera", None if fine else reason),
            limits=chosen_capture_limits(settings),
        )
        publisher = chosen_publisher(settings, broker=broker, ipc=ipc, last_will=self._last_will)
        with ExitStack() as opened:  # what another agent of this process may want, should a later part not be built
            self._delivery = _build_delivery(settings, outbox_path, publisher)
            opened.callback(self._delivery.outbox.close)
            self._collection = collection = chosen_collection(settings)
            if collection is not None:
                opened.callback(collection.close)
            opinion = chosen_second_opinion(settings, collection)
            if opinion is not None:
                opened.callback(opinion.stop)
            self._pipeline = Pipeline(
                model=loaded_model(settings, bundle),
                frames=frames,
                keep="newest" if source.live else "every",
                on_trouble=partial(self.note_trouble, "inference"),
                stuck_after=settings.model.inference_timeout,
            )
            self._opened = opened.pop_all()
        self._messages = FrameMessages(
            settings, self._delivery.outbox, payload_limit=lambda: self._delivery.publisher.payload_limit
        )
        self._decisions = Decisions(opinion, self._tell, hold=self._messages.hold)
        self._health = Health(
            device=settings.agent.device,
            camera=settings.camera.name,
            model=lambda: self._pipeline.model,
            counts=self._camera_counts,
            outbox=self._delivery.outbox.counts,
            last_delivery=lambda: self._delivery.sender.last_delivery,
            second_opinion=partial(second_opinion_status, opinion, collection, settings),
        )
        self._supervisor = Supervisor(
            health=self._health,
            checks={
                "outbox": lambda: self._delivery.outbox.problem,
                "delivery": lambda: self._delivery.sender.problem,
                "broker": lambda: self._delivery.broker_problem,
                "collect": lambda: collection.fault if collection is not None else None,
            },
            note=self.note_trouble,
            at_one_frame_s=lambda: max(self._pipeline.at_one_frame_s, self._handling.seconds),
            report=self._delivery.publisher.report,
            notifier=ServiceNotifier.from_environment(),
            stopping=self._stopping,
            on_stop=self._pipeline.stop,
        )

    @property
    def health(self) -> Health:
        """How it is."""
        return self._health

    @property
    def left_behind(self) -> bool:
        """Whether `run` has left a thread behind that hangs in a camera or a model."""
        return self._left_behind

    @property
    def delivering(self) -> bool:
        """Whether results are on their way out that an end of the agent would keep back."""
        return self._delivery.delivering

    def reload_with(self, load: Callable[[], Settings]) -> ModelReload:
        """Give what puts another model in place while the agent runs; `load` reads the settings anew."""
        return ModelReload(
            self._settings,
            load=load,
            swap=self._pipeline.swap,
            on_trouble=partial(self.note_trouble, "model"),
        )

    def stop(self) -> None:
        """Make `run` return soon. Safe from any thread and from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Look until the source ends, `stop` is called, or the wanted number of frames was looked at.

        Raises:
            InputError: the camera does not exist or is no camera; a file ends before its promised end.
            ThreadFailedError: a thread ended with an exception that nobody foresaw.
            BeeagentError: a stage failed.
        """
        self._opened.pop_all()  # from here on, `_end` closes them
        # OpenCV's own threads would only take the cores from the model's.
        cv2.setNumThreads(1)
        with ThreadGuard(self._fail):
            try:
                self._start()
                self._look()
            except Exception as error:
                self._failure = self._failure or f"failed ({shown(f'{type(error).__name__}: {error}', most=200)})"
                raise
            finally:
                self._left_behind = not self._end()
        if isinstance(self._capture.failure, IncompleteVideoError):
            raise InputError(str(self._capture.failure)) from self._capture.failure
        if self._capture.failure is not None:
            raise self._capture.failure
        if self._decisions.failure is not None:
            raise self._decisions.failure

    def close(self) -> None:
        """Release the files of an agent that is not going to run; after `run`, do nothing. Safe to call twice."""
        self._opened.close()

    def _start(self) -> None:
        self._capture.start()
        self._pipeline.start()
        self._decisions.start()
        self._delivery.start()
        self._supervisor.start()
        for payload in self._messages.tell_left_behind():
            self._print(payload)

    def _look(self) -> None:
        for result in self._pipeline:
            with self._handling.running():
                self._handle(result)
            if self._health.frames == self._settings.camera.frames or self._stopping.is_set():
                return

    def _handle(self, result: FrameResult) -> None:
        self._health.count_frame(captured_ns=result.frame.captured_ns)
        if self._on_result is not None:
            self._on_result(result)
        self._decisions.take(result)

    def _tell(self, decision: Decision) -> None:
        self._print(self._messages.tell(decision))

    def _print(self, payload: bytes | None) -> None:
        if payload is not None and self._settings.messages.stdout and not self._output.write(payload):
            self.stop()

    def note_trouble(self, part: str, reason: str | None) -> None:
        """Have the status tell what is wrong with a part; with None, that it is not any more. From any thread."""
        if self._health.set_trouble(part, reason) and part != "broker":  # of which the publisher tells the log
            if reason is None:
                _LOG.info("%s: fine again", part)
            else:
                _LOG.warning("%s: %s", part, reason)

    def _camera_counts(self) -> CameraCounts:
        counts = self._capture.counts
        return CameraCounts(
            skipped=counts.bad + self._pipeline.lost,
            replaced=counts.replaced + self._pipeline.replaced,
            rate_limited=counts.rate_limited,
            reconnects=counts.reconnects,
        )

    def _fail(self, reason: str) -> None:
        """End `run`, since a thread has failed. Called on that thread."""
        self._failure = reason
        self._health.set_trouble("agent", reason)
        self._stopping.set()
        self._pipeline.stop()  # the supervisor may be what failed

    def _last_will(self) -> bytes:
        return self._health.farewell("the connection broke off")

    def _end(self) -> bool:
        """End the stages, let the last results out, tell that the agent is gone; say whether every thread has ended.

        Who stops the agent wants it to stop; at the end of a file there is time to wait even for a broker.
        """
        began, told_to = time.monotonic(), self._stopping.is_set()
        self._pipeline.stop()
        ended = self._capture.stop(_STAGES_END_WITHIN_S)
        ended = self._pipeline.join(max(0.0, began + _STAGES_END_WITHIN_S - time.monotonic())) and ended
        self._decisions.end(timeout=self._settings.rekognition.timeout, unless=self._stopping)
        if self._collection is not None:
            self._collection.close()
        if not told_to:
            self._delivery.drain(timeout=_DRAIN_WITHIN_S, unless=self._stopping)
            self._stopping.set()
            began = time.monotonic()
        self._supervisor.join(_STOP_WITHIN_S / 4)
        farewell = self._failure or "stopped"
        self._delivery.end(farewell=lambda: self._health.farewell(farewell), by=began + _STOP_WITHIN_S)
        return ended and not self._pipeline.lost


def _build_delivery(settings: Settings, outbox_path: Path | None, publisher: Publisher) -> Delivery:
    outbox = chosen_outbox(settings, outbox_path)
    sender = Sender(
        outbox=outbox,
        publisher=publisher,
        dead_letters=DeadLetterFile.beside(outbox_path),
        drain_rate=settings.outbox.drain_rate,
    )
    return Delivery(outbox, sender, publisher)
