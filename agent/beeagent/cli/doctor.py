"""`beeagent doctor`: checks each part of the setup, and reports problems with their remedies."""

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from beeagent.camera import (
    BadFrameError,
    Cameras,
    Frame,
    FrameSource,
    SourceLostError,
    brightness,
    parse_active,
    parse_camera,
)
from beeagent.detection import Detector, DetectorOptions, runtime_name
from beeagent.errors import BeeagentError
from beeagent.greengrass import IpcConnection, ipc_address
from beeagent.messages import status_topic
from beeagent.mqtt import (
    Embedded,
    EmbeddedBroker,
    Greengrass,
    MqttPublisher,
    NoBroker,
    mqtt_options,
    parse_broker,
    reader_id,
)
from beeagent.runtime import advisable_model, advise_model, build_source, choose_workers, load_model, thread_count
from beeagent.settings import Settings

_CAMERA_WITHIN_S = 10.0
_BROKER_WITHIN_S = 10.0
_INFERENCES = 5
_SAMPLE_S = 2.0
_SAMPLE_WITHIN_S = 2 * _SAMPLE_S
_MAX_SAMPLED_FRAMES = 8

_FINE, _NOTE, _WRONG = "ok", "note", "WRONG"
Finding = tuple[str, str]
"""One of these verdicts, and the result of the check with the remedy."""


@dataclass(frozen=True, slots=True)
class _CameraSample:
    """Some frames of the camera, and its rate in frames per second; None for files, which are read on request."""

    frames: list[NDArray[np.uint8]]
    rate: float | None


_Answers = queue.SimpleQueue[Frame | Exception | None]
_Samples = queue.SimpleQueue[_CameraSample]


def examine(settings: Settings, *, write: Callable[[str], None]) -> bool:
    """Check model, camera, broker and state folder, and recommend a bundled model; return True without problems.

    If `threads` or `workers` is auto and not chosen yet, they are measured here.

    Args:
        settings: settings to check.
        write: called with a line for each part, and a summary.
    """
    current = _advisable_model(settings)
    samples: _Samples = queue.SimpleQueue()
    verdicts: dict[str, str] = {}
    for part, check in (
        ("model", _check_model),
        ("camera", partial(_check_camera, samples=None if current is None else samples)),
        ("broker", _check_broker),
        ("state", _check_state),
    ):
        try:
            verdicts[part], text = check(settings)
        except BeeagentError as error:
            verdicts[part], text = _WRONG, " ".join(str(error).split())
        write(f"{verdicts[part]:<5}  {part:<8} {text}")
    if settings.model.measured and verdicts["model"] == verdicts["state"] == _FINE:
        choice = choose_workers(settings, load_model(settings))
        write(f"{_FINE:<5}  {'workers':<8} {choice}")
        settings = settings.replace(threads=choice.threads, workers=choice.workers)
    if current is not None and verdicts["camera"] == _FINE:
        verdict, text = _advice(settings, samples, current=current)
        write(f"{verdict:<5}  {'advice':<8} {text}")
    fine = _WRONG not in verdicts.values()
    write("Nothing is wrong." if fine else "Something is wrong: see the lines that begin with WRONG.")
    return fine


def _check_model(settings: Settings) -> Finding:
    """Run the model, since a runtime that can be imported does not always work."""
    bundle = load_model(settings)
    threads = thread_count(settings)
    detector = Detector(bundle, DetectorOptions(threads=threads, threshold=settings.model.threshold))
    width, height = detector.input_size
    grey = np.full((height, width, 3), 127, dtype=np.uint8)
    start = time.perf_counter()
    for _ in range(_INFERENCES):
        detector.detect(grey)
    inference_ms = (time.perf_counter() - start) / _INFERENCES * 1e3
    runtime = runtime_name()
    checksums = "a bare file without checksums" if bundle.manifest is None else "checksums match"
    runs = f"{threads} thread(s) of {runtime} {version(runtime.replace('_', '-'))}"
    size = f"{width}x{height} pixels"
    return _FINE, f"{bundle.identity}, {checksums}; {size}; an inference takes {inference_ms:.1f} ms with {runs}"


def _check_camera(settings: Settings, *, samples: _Samples | None) -> Finding:
    if settings.camera.address is None:
        cameras = Cameras()
        if addresses := cameras.find():
            return _NOTE, f"none given; found: {', '.join(map(str, addresses))}"
        if forbidden := cameras.forbidden():
            return _NOTE, f"none given; {forbidden}"
        return _NOTE, "none given and none found on this machine; give --camera to check one"
    address = parse_camera(settings.camera.address)
    open_source = build_source(settings)
    answers: _Answers = queue.SimpleQueue()
    # In its own thread, since a camera that never answers blocks it for ever.
    threading.Thread(
        target=_read_camera, args=(open_source, answers, samples), name="doctor-camera", daemon=True
    ).start()
    try:
        answer = answers.get(timeout=_CAMERA_WITHIN_S)
    except queue.Empty:
        return _WRONG, f"{address.description} returned no frame within {_CAMERA_WITHIN_S:.0f} s: plug it in again"
    if isinstance(answer, Exception):
        raise answer
    if answer is None:
        return _WRONG, f"{address.description} contains no frame: give another one"
    return _FINE, f"{address.description} has frames of {answer.width}x{answer.height}{_activity(settings, answer)}"


def _activity(settings: Settings, frame: Frame) -> str:
    """Describe the activity of the camera, as text to append; empty without active times."""
    camera = settings.camera
    if camera.active is None:
        return ""
    times = parse_active(camera.active, latitude=camera.latitude, longitude=camera.longitude)
    if isinstance(times, float):
        return f"; its brightness is {brightness(frame.pixels):.0f}, and it is active above {times:g}"
    span = times.at(datetime.now(timezone.utc))
    until = "for a year" if span.until is None else f"until {span.until.astimezone().isoformat(timespec='seconds')}"
    return f"; it is {'active' if span.active else 'asleep'} {until}"


def _read_camera(open_source: Callable[[], FrameSource], answers: _Answers, samples: _Samples | None) -> None:
    try:
        with closing(open_source()) as source:
            frame = source.read()
            if frame is not None and source.live:
                frame = source.read()  # a camera has more than one
            answers.put(frame)
            if frame is not None and samples is not None:
                samples.put(_sample(source, frame))
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
        answers.put(error)


def _sample(source: FrameSource, first: Frame) -> _CameraSample:
    """Read for some seconds, and return a few evenly spaced frames."""
    frames, times, stride = [first.pixels], [first.captured_ns], 1
    end = time.monotonic() + _SAMPLE_S
    while time.monotonic() < end:
        try:
            frame = source.read()
        except BadFrameError:
            continue
        except SourceLostError:
            break
        if frame is None:
            break
        if len(times) % stride == 0:
            frames.append(frame.pixels)
        times.append(frame.captured_ns)
        if len(frames) > _MAX_SAMPLED_FRAMES:
            del frames[1::2]
            stride *= 2
    seconds = (times[-1] - times[0]) / 1e9
    return _CameraSample(frames, (len(times) - 1) / seconds if source.live and seconds > 0 else None)


def _advisable_model(settings: Settings) -> str | None:
    try:
        return advisable_model(settings)
    except (BeeagentError, OSError):
        return None  # reported by the check of the model


def _advice(settings: Settings, samples: _Samples, *, current: str) -> Finding:
    """Return the bundled model that fits best, as a note if it is not the configured one."""
    try:
        sample = samples.get(timeout=_SAMPLE_WITHIN_S)
        advice = advise_model(settings, sample.frames, current=current, camera_rate=sample.rate)
    except queue.Empty:
        return _NOTE, f"the camera returned too few frames within {_SAMPLE_WITHIN_S:.0f} s to compare models"
    except BeeagentError as error:
        return _NOTE, " ".join(str(error).split())
    return _FINE if advice.model == current else _NOTE, advice.text


def _check_broker(settings: Settings) -> Finding:
    address = parse_broker(settings.mqtt.broker)
    if isinstance(address, NoBroker):
        return _NOTE, "none: results go to --stdout only"
    if isinstance(address, Greengrass):
        return _check_nucleus(address)
    if isinstance(address, Embedded):
        EmbeddedBroker(port=None)
        return _FINE, "embedded: its package is installed"
    client_id = reader_id("doctor", agent_id=settings.mqtt.client_id)
    options = mqtt_options(settings.mqtt, address=address, client_id=client_id)
    publisher = MqttPublisher(
        # Leaves time for attempts with MQTT 5, MQTT 3.1.1, and MQTT 3.1.1 without retained messages.
        options=replace(options, connect_timeout_s=_BROKER_WITHIN_S / 4),
        # Its own topic, so that the status of the device is not overwritten.
        status_topic=status_topic(settings.messages.topic_prefix, "doctor"),
        last_will=lambda: b"",
    )
    changed = threading.Event()
    publisher.listen(changed.set)
    publisher.start()
    try:
        changed.wait(_BROKER_WITHIN_S)
        state = publisher.state
    finally:
        publisher.stop(farewell=None, timeout=1.0)
    if state.connected:
        return _FINE, f"{address} accepts the connection"
    return _WRONG, f"{state.reason}: check --broker, and that the broker runs"


def _check_nucleus(broker: Greengrass) -> Finding:
    address = ipc_address(os.environ)
    ipc = IpcConnection(address, on_rejected=lambda _: None)
    ipc.start()
    try:
        connected = ipc.wait_connected(_BROKER_WITHIN_S)
        reason = ipc.reason
    finally:
        ipc.close()
    if connected:
        return _FINE, f"{broker}: the nucleus at {address.socket} accepts this process"
    return _WRONG, f"{reason}: run this in the environment of the component"


def _check_state(settings: Settings) -> Finding:
    folder = settings.state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"beeagent")
            os.fsync(probe.fileno())
    except OSError as error:
        return _WRONG, f"{folder} is not writable ({error.strerror}): give a writable folder as --state-dir"
    return _FINE, f"{folder} is writable"
