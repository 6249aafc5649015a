"""The wiring: builds the stages from the settings, starts and stops them."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import cv2

from beeagent.choices import chosen_mqtt_options, loaded_model
from beeagent.config import Settings
from beeagent.delivery.broker_url import BrokerAddress, Embedded, parse_broker
from beeagent.delivery.courier import Courier
from beeagent.delivery.discard import DiscardPublisher
from beeagent.delivery.message import detections_message, encode
from beeagent.delivery.mqtt import MqttPublisher
from beeagent.delivery.outbox import Outbox
from beeagent.delivery.publisher import Publisher
from beeagent.delivery.rule import PublishRule
from beeagent.delivery.topics import detections_topic, status_topic
from beeagent.detection.bundle import ModelBundle
from beeagent.errors import BeeagentError, InputError
from beeagent.frames.address import ALLOWED, is_live, parse_camera
from beeagent.frames.capture import Capture, CaptureLimits
from beeagent.frames.frame import Frame
from beeagent.frames.handoff import Handoff
from beeagent.frames.opening import SourceOptions, open_source
from beeagent.frames.video import IncompleteVideoError
from beeagent.health import Health
from beeagent.model_reload import ModelReload
from beeagent.pipeline import FrameResult, Pipeline

_LOG = logging.getLogger(__name__)

# AWS IoT Core's limit on a payload; a larger one ends the connection.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_PAYLOAD_LIMIT = 128 * 1024
_STATUS_INTERVAL_S = 30.0
_STOP_WITHIN_S = 2.0
_DRAIN_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """The way out: where results wait, who takes them there, and how they leave."""

    outbox: Outbox
    courier: Courier
    publisher: Publisher


class Agent:
    """Looks at one camera until it ends or is stopped, and sends what it sees on its way.

    Args:
        settings: what to do; its camera must be set.
        bundle: the model.
        outbox_path: where results wait; None for memory alone.
        broker: where results go, in place of what the settings say.
        on_result: told of each frame's result, on the thread of `run`; None for nobody.

    Raises:
        InputError: something in the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        bundle: ModelBundle,
        outbox_path: Path | None,
        broker: BrokerAddress | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
    ) -> None:
        if settings.camera is None:
            raise InputError(f"no camera is given: --camera takes {ALLOWED}")
        self._settings = settings
        self._on_result = on_result
        self._topic = detections_topic(settings.topic_prefix, settings.device, settings.camera_name)
        address = parse_camera(settings.camera)
        live = is_live(address, realtime=settings.realtime)
        self._rule = PublishRule(settings.publish)
        self._stopping = threading.Event()
        frames: Handoff[Frame] = Handoff("newest" if live else "every")
        self._capture = Capture(
            partial(open_source, address, SourceOptions(realtime=settings.realtime)),
            frames,
            on_state=lambda fine, reason: self._note_trouble("camera", None if fine else reason),
            limits=CaptureLimits(max_rate=settings.max_rate),
        )
        self._pipeline = Pipeline(
            model=loaded_model(settings, bundle),
            frames=frames,
            keep="newest" if live else "every",
            on_trouble=partial(self._note_trouble, "inference"),
            stuck_after=settings.inference_timeout,
        )
        self._delivery = _build_delivery(settings, broker, outbox_path, last_will=self._last_will)
        self._health = Health(
            device=settings.device,
            camera=settings.camera_name,
            model=lambda: self._pipeline.model,
            skipped=lambda: self._capture.counts.bad + self._pipeline.lost,
            outbox=self._delivery.outbox.counts,
        )

    @property
    def health(self) -> Health:
        """How it is."""
        return self._health

    def reload_with(self, load: Callable[[], Settings]) -> ModelReload:
        """Give what puts another model in place while the agent runs; `load` reads the settings anew."""
        return ModelReload(
            self._settings,
            load=load,
            swap=self._pipeline.swap,
            on_trouble=partial(self._note_trouble, "model"),
        )

    def stop(self) -> None:
        """Make `run` return soon. Safe from any thread and from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Look until the source ends, `stop` is called, or the wanted number of frames was looked at.

        Raises:
            InputError: the camera does not exist or is no camera; a file ends before its promised end.
            BeeagentError: a stage failed.
        """
        supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        delivery = self._delivery
        # OpenCV's own threads would only take the cores from the model's.
        cv2.setNumThreads(1)
        try:
            self._capture.start()
            self._pipeline.start()
            delivery.publisher.start()
            delivery.courier.start()
            supervisor.start()
            self._look()
        finally:
            interrupted = self._stopping.is_set()
            self._stopping.set()
            self._capture.stop(_STOP_WITHIN_S / 2)
            self._pipeline.stop()
            self._pipeline.join(_STOP_WITHIN_S)
            self._end_delivery(interrupted=interrupted)
        if isinstance(self._capture.failure, IncompleteVideoError):
            raise InputError(str(self._capture.failure)) from self._capture.failure
        if self._capture.failure is not None:
            raise self._capture.failure

    def _look(self) -> None:
        for result in self._pipeline:
            self._health.count_frame(captured_ns=result.frame.captured_ns)
            if self._on_result is not None:
                self._on_result(result)
            if self._rule.admits(result.detections):
                self._send(result)
            if self._health.frames == self._settings.frames or self._stopping.is_set():
                return

    def _send(self, result: FrameResult) -> None:
        payload = b""
        settings = self._settings

        def build(seq: int) -> bytes:
            nonlocal payload
            message = detections_message(
                event_id=uuid4(),
                device=settings.device,
                camera=settings.camera_name,
                seq=seq,
                captured_at=result.frame.captured_at,
                frame_width=result.frame.width,
                frame_height=result.frame.height,
                model=result.model,
                decided_by="edge",
                detections=result.detections,
                inference_ms=result.inference_ms,
                total_ms=(time.monotonic_ns() - result.frame.captured_ns) / 1e6,
            )
            payload = encode(message, limit=_PAYLOAD_LIMIT)
            return payload

        self._delivery.outbox.put(stream=f"{settings.device}/{settings.camera_name}", topic=self._topic, build=build)
        if settings.stdout:
            self._write(payload)

    def _write(self, payload: bytes) -> None:
        try:
            sys.stdout.buffer.write(payload + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Whoever read has had enough, as `head` does; nothing more is to be written to it, at exit neither.
            sys.stdout = None  # Python's own way to have no standard output
            self.stop()

    def _supervise(self) -> None:
        """Tell the status when it changes and now and then, and end the stages when `stop` was called."""
        reported, due = None, 0.0
        while not self._stopping.wait(0.5):
            self._note_delivery()
            troubles = self._health.troubles
            if troubles != reported or time.monotonic() >= due:
                reported, due = troubles, time.monotonic() + _STATUS_INTERVAL_S
                self._delivery.publisher.report(self._health.status())
        self._pipeline.stop()

    def _note_delivery(self) -> None:
        delivery = self._delivery
        self._note_trouble("outbox", delivery.outbox.fault)
        self._note_trouble("delivery", delivery.courier.trouble)

    def _note_trouble(self, part: str, reason: str | None) -> None:
        if self._health.set_trouble(part, reason):
            if reason is None:
                _LOG.info("%s: fine again", part)
            else:
                _LOG.warning("%s: %s", part, reason)

    def _last_will(self) -> bytes:
        return self._health.farewell("the connection broke off")

    def _end_delivery(self, *, interrupted: bool) -> None:
        """Let the last results out, tell that the agent is gone, and end in order.

        Who stops the agent wants it to stop; at the end of a file there is time to wait even for a broker.
        """
        delivery = self._delivery
        if not interrupted:
            delivery.courier.drain(timeout=_DRAIN_WITHIN_S)
        elif delivery.publisher.state.connected:
            delivery.courier.drain(timeout=_STOP_WITHIN_S / 4)
        delivery.publisher.stop(farewell=self._health.farewell("stopped"), timeout=_STOP_WITHIN_S / 2)
        delivery.courier.stop()
        delivery.outbox.close()
        waiting = delivery.outbox.counts().waiting
        if waiting:
            _LOG.warning("%d results wait for the broker; they will go out when the agent runs again", waiting)


def _build_delivery(
    settings: Settings, broker: BrokerAddress | None, outbox_path: Path | None, *, last_will: Callable[[], bytes]
) -> Delivery:
    address = broker or parse_broker(settings.broker)
    publisher: Publisher = DiscardPublisher()
    if isinstance(address, BrokerAddress):
        publisher = MqttPublisher(
            options=chosen_mqtt_options(
                settings, address=address, client_id=f"beeagent-{settings.device}-{settings.camera_name}"
            ),
            status_topic=status_topic(settings.topic_prefix, settings.device),
            last_will=last_will,
        )
    elif isinstance(address, Embedded):
        raise BeeagentError("the embedded broker is started by whoever runs the agent, and its address given")
    outbox = Outbox(outbox_path)
    return Delivery(outbox, Courier(outbox=outbox, publisher=publisher), publisher)
