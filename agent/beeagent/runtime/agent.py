"""The agent: builds its parts from the settings, starts them, handles the results, and stops them in order."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from beeagent.camera import Capture, IncompleteVideoError
from beeagent.detection import NO_MASKS, ModelBundle
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress
from beeagent.outbox import DeadLetterFile, Sender
from beeagent.output import LineOutput, shown
from beeagent.runtime.factory import (
    build_capture_limits,
    build_collection,
    build_counting,
    build_detectors,
    build_home_assistant,
    build_outbox,
    build_publisher,
    build_second_opinion,
    build_sleep,
    build_source,
)
from beeagent.runtime.page import build_page
from beeagent.runtime.pipeline import FrameResult, Pipeline
from beeagent.runtime.reload import Reload
from beeagent.runtime.results import Results
from beeagent.runtime.state import StateReporter
from beeagent.runtime.status import Health, Problems, StatusReporter
from beeagent.runtime.systemd import ServiceNotifier
from beeagent.runtime.threshold import PageThreshold
from beeagent.runtime.workers import choose_workers
from beeagent.settings import Settings
from beeagent.threads import ThreadGuard
from beeagent.web import LiveView, Page

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection

# The agent ends within 3 s after a stop: the first is the limit without Python's shutdown, the second the part of it
# for the stages that produce results.
_STOP_TIMEOUT_S = 2.7
_STAGES_TIMEOUT_S = 1.0
_DRAIN_TIMEOUT_S = 10.0  # at the end of a file
_RELOAD_TIMEOUT_S = 0.5
_LAST_RESULTS_S = 0.5
_CLOSE_OUTBOX_S = 0.7  # reserved for the last commit, after the last receipts

_LOG = logging.getLogger(__name__)


class Agent:
    """Processes the frames of a camera until it ends or the agent is stopped, and publishes the results.

    Attributes:
        health: the state of the agent.
        problems: the current problems of its components.
        reload: reloads the model and the places on request.
        threads_stuck: after `run`, True if a thread is still stuck in a camera or model.

    Args:
        settings: the settings; a camera must be set.
        bundle: the model.
        outbox_path: path of the outbox file; None for an outbox in memory.
        broker: overrides the broker of the settings.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        load: reads the settings again, for a reload of the model; None to reuse `settings`.
        on_result: called with the result of each frame, on the thread of `run`.
        stopping: event that makes `run` return, like `stop`; None for a new one.

    Raises:
        InputError: the settings cannot be used.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        settings: Settings,
        *,
        bundle: ModelBundle,
        outbox_path: Path | None,
        broker: BrokerAddress | None = None,
        ipc: "IpcConnection | None" = None,
        load: Callable[[], Settings] | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._stopping = stopping = stopping or threading.Event()
        choice = None
        if settings.model.measured:
            choice = choose_workers(settings, bundle, stopping=stopping)
            settings = settings.replace(threads=choice.threads, workers=choice.workers)
        self._settings = settings
        self._on_result = on_result
        self._failure: str | None = None
        self.threads_stuck = False
        self.problems = problems = Problems()

        source = build_source(settings)
        self._sleep = build_sleep(settings)
        self._capture = capture = Capture(
            source,
            drop_oldest=source.live,
            on_problem=problems.of("camera"),
            limits=build_capture_limits(settings),
            sleep=self._sleep,
        )
        with ExitStack() as opened:  # closed again if a later part cannot be built
            self._outbox = outbox = build_outbox(settings, outbox_path)
            opened.callback(outbox.close)
            self._collection = collection = build_collection(settings)
            if collection is not None:
                opened.callback(collection.close)
            opinion = build_second_opinion(settings, collection)
            if opinion is not None:
                opened.callback(opinion.stop)
            in_memory = outbox_path is None or settings.agent.state_dir is None
            threshold = PageThreshold(None if in_memory else settings.state_file("threshold.json"))
            thresholded = threshold.settings_with(settings, bundle)
            self._counting = counting = build_counting(
                thresholded,
                bundle,
                in_memory=outbox_path is None,
                outbox=outbox,
                on_places_problem=problems.of("places"),
                on_history_problem=problems.of("counts"),
            )
            if counting is not None:
                opened.callback(counting.close)
            self._pipeline = pipeline = Pipeline(
                model=build_detectors(thresholded, bundle),
                frames=capture,
                drop_oldest=source.live,
                on_problem=problems.of("inference"),
                stopping=stopping,
                inference_timeout=settings.model.inference_timeout,
                masks=(lambda: NO_MASKS) if counting is None else (lambda: counting.masks),
                on_idle=self._end_traffic_if_asleep,
            )
            self.health = health = Health(
                settings,
                problems=problems,
                capture=capture,
                pipeline=pipeline,
                outbox=outbox,
                opinion=opinion,
                collection=collection,
                choice=choice,
                counting=counting,
                sleep=self._sleep,
            )
            will = partial(health.offline_status, "the connection broke off")
            home_assistant = build_home_assistant(settings, broker=broker)
            publisher = build_publisher(
                settings,
                broker=broker,
                ipc=ipc,
                last_will=will,
                subscriptions=None if home_assistant is None else home_assistant.subscriptions,
            )
            self._publisher = publisher
            self._sender = sender = Sender(
                outbox=outbox,
                publisher=publisher,
                dead_letters=DeadLetterFile.beside(outbox_path),
                drain_rate=settings.outbox.drain_rate,
            )
            self._opened = opened.pop_all()
        output = LineOutput(stopping) if settings.messages.stdout else None
        live = LiveView() if settings.page.enabled else None
        self._results = Results(
            settings, outbox=outbox, publisher=publisher, opinion=opinion, counting=counting, live=live, output=output
        )
        self.reload = reload = Reload(
            settings,
            bundle=bundle,
            load=load or (lambda: settings),
            pipeline=pipeline,
            counting=counting,
            on_problem=problems.of("model"),
            threshold=threshold,
            on_request=self._renew_page,
        )
        self._page: Page | None = None
        if live is not None:
            try:
                self._page = build_page(
                    settings,
                    live=live,
                    health=health,
                    pipeline=pipeline,
                    counting=counting,
                    threshold=threshold,
                    reload=reload,
                )
            except BaseException:
                self.close()
                raise
            self._opened.callback(self._page.stop)
        state = StateReporter(
            settings,
            health=self.health,
            labels=bundle.labels,
            counting=counting,
            publisher=publisher,
            home_assistant=home_assistant,
        )
        self._reporter = StatusReporter(
            health=health,
            problems=problems,
            checks={
                "outbox": lambda: outbox.problem,
                "delivery": lambda: sender.problem,
                "broker": lambda: sender.broker_problem,
                "collect": lambda: None if collection is None else collection.fault,
            },
            busy_s=lambda: pipeline.busy_s,
            report=publisher.report,
            notifier=ServiceNotifier.from_environment(),
            stopping=stopping,
            reload=self.reload,
            also=state.check,
        )

    @property
    def delivering(self) -> bool:
        """True if there are waiting results and a connection."""
        return self._sender.delivering

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe, and safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Run until the source ends, `stop` is called, or the configured number of frames is processed.

        Raises:
            InputError: the camera does not exist or is not a camera; a file is shorter than its header promises.
            ThreadFailedError: a thread ended with an unexpected exception.
            BeeagentError: a stage failed.
        """
        self._opened.pop_all()  # now closed by `_end`
        # OpenCV's threads would compete with those of the model.
        cv2.setNumThreads(1)
        with ThreadGuard(self._fail):
            try:
                self._start()
                for result in self._pipeline:
                    processed = self.health.count_frame(
                        captured_ns=result.frame.captured_ns, detections=result.detections
                    )
                    if self._on_result is not None:
                        self._on_result(result)
                    self._results.add(result)
                    if processed == self._settings.camera.frames:
                        break
            except Exception as error:
                self._failure = self._failure or f"failed ({shown(f'{type(error).__name__}: {error}', most=200)})"
                raise
            finally:
                self.threads_stuck = not self._end()
        if isinstance(self._capture.failure, IncompleteVideoError):
            raise InputError(str(self._capture.failure)) from self._capture.failure
        for failure in (self._capture.failure, self._results.failure):
            if failure is not None:
                raise failure

    def close(self) -> None:
        """Close the files of an agent that is not run; does nothing after `run`. Idempotent."""
        self._opened.close()

    def _start(self) -> None:
        self._pipeline.start()
        self._publisher.start()
        self._sender.start()
        self._reporter.start()
        self._results.start()
        if self._page is not None:
            self._page.start()

    def _renew_page(self) -> None:
        if self._page is not None:
            self._page.renew()

    def _end_traffic_if_asleep(self) -> None:
        if self._sleep is not None and (period := self._sleep.period) is not None:
            self._results.fall_asleep(period)

    def _fail(self, reason: str) -> None:
        """End `run` after the failure of a thread. Called on that thread."""
        self._failure = reason
        self.problems.set("agent", reason)
        self._stopping.set()

    def _end(self) -> bool:
        """Stop the stages, publish the last results and the offline status; return False if a thread has not ended.

        After `stop`, this is fast; at the end of a file, it waits for the broker.
        """
        started, stopped = time.monotonic(), self._stopping.is_set()
        if self._page is not None:
            self._page.stop()
        self._pipeline.stop()
        ended = self._capture.stop(_STAGES_TIMEOUT_S)
        ended = self._pipeline.join(max(0.0, started + _STAGES_TIMEOUT_S - time.monotonic())) and ended
        self._results.end(timeout=self._settings.rekognition.timeout, unless=self._stopping)
        if self._counting is not None:
            self._counting.close()
        if self._collection is not None:
            self._collection.close()
        if not stopped:
            deadline = time.monotonic() + _DRAIN_TIMEOUT_S
            while not self._stopping.is_set() and time.monotonic() < deadline and self._sender.broker_problem is None:
                if self._sender.drain(timeout=0.25):
                    break
            self._stopping.set()
            started = time.monotonic()
        self._reporter.join(_STOP_TIMEOUT_S / 4)
        reason = self._failure or "stopped"
        if self._publisher.state.connected:
            self._sender.drain(timeout=_LAST_RESULTS_S)
        left = started + _STOP_TIMEOUT_S - _CLOSE_OUTBOX_S - time.monotonic()
        self._publisher.stop(farewell=self.health.offline_status(reason), timeout=max(0.1, left))
        self._sender.stop(timeout=_CLOSE_OUTBOX_S / 4)
        self._outbox.close(timeout=_CLOSE_OUTBOX_S / 2)
        if waiting := self._outbox.counts().waiting:
            _LOG.warning("%d results wait for the broker; they will be sent after the next start", waiting)
        self.reload.join(_RELOAD_TIMEOUT_S)
        return ended and not self._pipeline.lost
