"""The factory, which builds the parts of the agent from the settings."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from beeagent.camera import (
    ALLOWED_CAMERAS,
    CameraAddress,
    CaptureFormat,
    CaptureLimits,
    CsiAddress,
    DarkSleep,
    DeviceAddress,
    FolderAddress,
    ImageAddress,
    NumberAddress,
    PatternAddress,
    Sleep,
    SourceOpener,
    SourceOptions,
    StreamAddress,
    StreamTimeouts,
    TimedSleep,
    is_live,
    parse_active,
    parse_camera,
)
from beeagent.cloud import CallBudget, CallGuard, Collection, SecondOpinion
from beeagent.detection import (
    DetectorOptions,
    DetectorPool,
    ModelAdvice,
    ModelBundle,
    RegionOptions,
    UncertaintyRange,
    advise,
    bundled_models,
    default_model,
    load_probed_bundle,
    measure_models,
    resolve_model,
    resolve_tiling,
    uncertainty_range,
)
from beeagent.errors import BeeagentError, InputError, requires_extra
from beeagent.messages import status_topic, traffic_topic
from beeagent.mqtt import (
    BrokerAddress,
    Embedded,
    Greengrass,
    MqttPublisher,
    NoBroker,
    Received,
    check_home_assistant_broker,
    mqtt_options,
    parse_broker,
)
from beeagent.outbox import DiscardPublisher, Outbox, Publisher
from beeagent.runtime.counting import Counting
from beeagent.runtime.home_assistant import HomeAssistant
from beeagent.settings import Settings, all_cores_up_to_four
from beeagent.tracking import CountHistory

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection

_LOG: Final = logging.getLogger(__name__)

_STREAM_OPEN_TIMEOUT_S: Final = 8.0
_OPENING_MARGIN_S: Final = 12.0
"""Time in addition to a stream's time-out for opening: for name resolution, and the diagnosis of a failure."""


def load_model(settings: Settings) -> ModelBundle:
    """Load the configured model, or the default model.

    A bare model, which has no hash, is first run in a child process.

    Raises:
        InputError: the model cannot be used.
        BeeagentError: the installation lacks the default model.
    """
    threads = thread_count(settings) // worker_count(settings)
    return load_probed_bundle(settings.model.path, labels=settings.model.labels, threads=threads)


def thread_count(settings: Settings) -> int:
    """Return the number of CPU threads for inference; `auto` before the measurement is all cores, at most 4."""
    threads, workers = settings.model.threads, settings.model.workers
    if threads == "auto":
        return max(all_cores_up_to_four(), workers if isinstance(workers, int) else 1)
    return threads


def worker_count(settings: Settings) -> int:
    """Return the number of frames to process in parallel.

    Two frames in parallel on one thread each take less time than one after the other on two threads: parts of an
    inference run on a single thread, and its threads wait for each other if one is preempted. More than two frames
    would gain little, and cost memory and latency.

    Args:
        settings: `workers` and `threads`; `auto` before the measurement counts as not set.

    Raises:
        InputError: there are more workers than threads.
    """
    if settings.model.workers is None or settings.model.workers == "auto":
        return min(2, thread_count(settings))
    if settings.model.workers > thread_count(settings):
        raise InputError(
            f"workers is {settings.model.workers} and threads is {settings.model.threads}: "
            "each worker needs at least one thread"
        )
    return settings.model.workers


def build_detectors(settings: Settings, bundle: ModelBundle) -> DetectorPool:
    """Build one detector per worker.

    Args:
        settings: `threads`, `workers`, `threshold`, `tiles`, `regions`, `unsure_low` and `unsure_high`.
        bundle: the model.

    Raises:
        InputError: there are more workers than threads, the uncertainty range is invalid, regions cannot follow
            activity with this camera, or the model cannot be used.
    """
    workers = worker_count(settings)
    options = DetectorOptions(
        threads=thread_count(settings) // workers,
        threshold=settings.model.threshold,
        tiling=resolve_tiling(settings.model.tiles, bundle),
    )
    return DetectorPool(
        bundle,
        options,
        size=workers,
        uncertainty=build_uncertainty(settings, bundle),
        regions=_region_options(settings),
        candidates=settings.tracking.enabled or settings.page.enabled,
        preview=settings.page.enabled,
    )


def build_uncertainty(settings: Settings, bundle: ModelBundle) -> UncertaintyRange | None:
    """Return the confidences at which the model is unsure; None without a second opinion.

    Args:
        settings: `threshold`, `unsure_low` and `unsure_high`.
        bundle: the model.

    Raises:
        InputError: the uncertainty range is invalid.
    """
    if settings.rekognition.project_version_arn is None:
        return None
    return uncertainty_range(
        bundle,
        threshold=_threshold(settings, bundle),
        low=settings.rekognition.unsure_low,
        high=settings.rekognition.unsure_high,
    )


def advisable_model(settings: Settings) -> str | None:
    """Return the name of the configured model if `advise_model` supports it: a bundled model without regions.

    With regions, the number of inferences depends on the activity. The accuracy of other models is unknown.

    Raises:
        BeeagentError: the installation lacks the default model.
        OSError: it cannot be determined whether the model's path exists.
    """
    if settings.model.regions:
        return None
    path = default_model() if settings.model.path is None else resolve_model(settings.model.path)
    return next((name for name, folder in bundled_models().items() if folder.resolve() == path.resolve()), None)


def advise_model(
    settings: Settings, frames: Sequence[NDArray[np.uint8]], *, current: str, camera_rate: float | None
) -> ModelAdvice:
    """Measure the bundled models on frames of the camera, and recommend one.

    Args:
        settings: `threads`, `threshold`, `tiles` and `max_rate`.
        frames: BGR, uint8, shape (height, width, 3), at least one.
        current: result of `advisable_model`.
        camera_rate: frames per second of the camera; None for files.

    Raises:
        InputError: a bundled model cannot be used.
        BeeagentError: there is no working TFLite runtime.
    """
    rates = [rate for rate in (camera_rate, settings.camera.max_rate) if rate is not None]
    measured = measure_models(
        {name: ModelBundle.load(folder) for name, folder in bundled_models().items()},
        frames,
        current=current,
        options=DetectorOptions(threads=thread_count(settings), threshold=settings.model.threshold),
        tiles=settings.model.tiles,
    )
    return advise(measured, current=current, wanted_rate=min(rates, default=None))


def _threshold(settings: Settings, bundle: ModelBundle) -> float:
    return bundle.threshold if settings.model.threshold is None else settings.model.threshold


def _region_options(settings: Settings) -> RegionOptions | None:
    rate = settings.model.max_inference_rate
    if not settings.model.regions:
        if rate is not None:
            raise InputError(f"max_inference_rate is {rate:g}, but regions is off: set regions, or use max_rate")
        return None
    _require_sequence(settings, "regions", instead="use tiles, or set realtime")
    return RegionOptions(max_inference_rate=rate)


def _require_sequence(settings: Settings, name: str, *, instead: str) -> None:
    """Raise InputError for a setting that requires successive frames if the camera is a set of images."""
    address = None if settings.camera.address is None else parse_camera(settings.camera.address)
    if isinstance(address, ImageAddress | FolderAddress | PatternAddress) and not settings.camera.realtime:
        raise InputError(f"{name} cannot be used with {address.description}, whose images may be unrelated: {instead}")


def build_counting(  # noqa: PLR0913 - keywords
    settings: Settings,
    bundle: ModelBundle,
    *,
    in_memory: bool,
    outbox: Outbox,
    on_places_problem: Callable[[str | None], None],
    on_history_problem: Callable[[str | None], None],
) -> Counting | None:
    """Build tracking and counting; return None if they are disabled.

    Args:
        settings: section `tracking`, and `threshold`.
        bundle: the model.
        in_memory: True to keep counts only in memory.
        outbox: source of the last traffic message if the history file is damaged.
        on_places_problem: see `Counting`.
        on_history_problem: see `Counting`.

    Raises:
        InputError: the file of places is invalid, the history file cannot be used, or the camera is a set of images.
    """
    tracking = settings.tracking
    if not tracking.enabled:
        return None
    _require_sequence(
        settings, "track" if tracking.places is None else "places", instead="leave it out, or set realtime"
    )
    history, places = None, _places_file(settings, in_memory=in_memory)
    if places is not None and not in_memory:
        file = settings.state_file("counts.sqlite3")
        with suppress(OSError):  # opening the file reports it
            file.parent.mkdir(parents=True, exist_ok=True)
        history = CountHistory(file)
    topic = traffic_topic(settings.messages.topic_prefix, settings.agent.device, settings.camera.name)

    def last_message() -> bytes | None:
        return None if (row := outbox.newest(topic)) is None else row.payload

    try:
        return Counting(
            places_file=places,
            interval_s=tracking.traffic_interval,
            threshold=_threshold(settings, bundle),
            history=history,
            find_unusual=tracking.unusual_traffic,
            last_message=last_message,
            on_places_problem=on_places_problem,
            on_history_problem=on_history_problem,
        )
    except BaseException:
        if history is not None:
            history.close()
        raise


def _places_file(settings: Settings, *, in_memory: bool) -> Path | None:
    """Return the configured file of places, or that of the page, which is created if the page is enabled."""
    if settings.tracking.places is not None or in_memory or settings.agent.state_dir is None:
        return settings.tracking.places
    file = settings.state_file("places.toml")
    if settings.page.enabled and not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("# Lines, zones and masks that were drawn on the page.\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"places {file}: cannot be written: {error.strerror or error}") from error
    return file if file.exists() else None


def build_source(settings: Settings) -> SourceOpener:
    """Build the opener of the configured camera.

    Raises:
        InputError: no camera is configured, or its address or active times are invalid.
    """
    if settings.camera.address is None:
        raise InputError(f"no camera is given: --camera takes {ALLOWED_CAMERAS}")
    # A stalled stream should report its own error, shortly before the time-out of the capture.
    timeouts = StreamTimeouts(opening=_stream_open_timeout(settings), reading=0.8 * settings.camera.timeout)
    address = parse_camera(settings.camera.address)
    sleep = build_sleep(settings)
    options = SourceOptions(
        realtime=settings.camera.realtime,
        wanted=_capture_format(settings, address),
        timeouts=timeouts,
        poll_interval=min(1.0, 1 / (settings.camera.max_rate or 1.0), settings.camera.timeout / 2),
        freeze_timeout=settings.camera.freeze_timeout or None,
        dark=sleep.dark if isinstance(sleep, DarkSleep) else None,
    )
    return SourceOpener(address, options)


def build_sleep(settings: Settings) -> Sleep | None:
    """Build the decision when the camera sleeps; return None if it never does.

    Raises:
        InputError: the active times are invalid, lack a latitude or longitude, or are never active; the camera is a
            file.
    """
    active = settings.camera.active
    if active is None or settings.camera.address is None:
        return None
    address = parse_camera(settings.camera.address)
    if not is_live(address, realtime=settings.camera.realtime):
        raise InputError(
            f"active is {active!r} and cannot be used with {address.description}, which is not live: leave it out, or "
            "set realtime"
        )
    parsed = parse_active(active, latitude=settings.camera.latitude, longitude=settings.camera.longitude)
    if isinstance(parsed, float):
        return DarkSleep(parsed)
    if parsed.at(datetime.now(timezone.utc)).until is None:
        raise InputError(f"active is {active!r}, which never occurs: give other times")
    return TimedSleep(parsed)


def build_capture_limits(settings: Settings) -> CaptureLimits:
    """Build the limits of the capture."""
    address = None if settings.camera.address is None else parse_camera(settings.camera.address)
    # These may be attached or switched on later; a missing file is an error.
    may_appear = isinstance(address, NumberAddress | DeviceAddress | CsiAddress | StreamAddress)
    return CaptureLimits(
        max_rate=settings.camera.max_rate,
        camera_timeout=settings.camera.timeout,
        open_timeout=_stream_open_timeout(settings) + _OPENING_MARGIN_S,
        await_camera=settings.camera.await_camera and may_appear,
    )


def build_publisher(
    settings: Settings,
    *,
    broker: BrokerAddress | None,
    ipc: "IpcConnection | None",
    last_will: Callable[[], bytes],
    subscriptions: Mapping[str, Callable[[Received], None]] | None = None,
) -> Publisher:
    """Build the publisher for the configured broker.

    Args:
        settings: the broker and its credentials.
        broker: overrides the broker of the settings.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        last_will: returns the payload of the last will; not used with a nucleus.
        subscriptions: see `MqttPublisher`; not used with a nucleus.

    Raises:
        InputError: the settings of the broker cannot be used.
    """
    address = broker or parse_broker(settings.mqtt.broker)
    topic = status_topic(settings.messages.topic_prefix, settings.agent.device)
    if isinstance(address, NoBroker):
        return DiscardPublisher()
    if isinstance(address, Embedded):
        raise BeeagentError("the embedded broker is started by the caller, which passes its address")
    if isinstance(address, BrokerAddress):
        client_id = settings.mqtt.client_id or f"beeagent-{settings.agent.device}-{settings.camera.name}"
        options = mqtt_options(settings.mqtt, address=address, client_id=client_id)
        return MqttPublisher(options=options, status_topic=topic, last_will=last_will, subscriptions=subscriptions)
    return _greengrass_publisher(settings, address, topic, ipc)


def build_home_assistant(settings: Settings, *, broker: BrokerAddress | None) -> HomeAssistant | None:
    """Build the announcement of the camera to Home Assistant; return None if it is disabled.

    Args:
        settings: section `home_assistant`, the broker and the names in topics.
        broker: overrides the broker of the settings.

    Raises:
        InputError: Home Assistant cannot use this broker.
    """
    if not settings.home_assistant.enabled:
        return None
    check_home_assistant_broker(broker or parse_broker(settings.mqtt.broker), text=settings.mqtt.broker)
    if not settings.messages.state_interval:
        raise InputError(
            "home_assistant is on and state_interval is 0: Home Assistant shows the state messages; give a "
            "state_interval above 0"
        )
    return HomeAssistant(settings)


def build_outbox(settings: Settings, path: Path | None) -> Outbox:
    """Open the outbox.

    Args:
        settings: the keys that begin with `outbox_`.
        path: path of the file; None for an outbox in memory.

    Raises:
        InputError: the file cannot be used.
    """
    return Outbox(
        path,
        max_megabytes=settings.outbox.megabytes,
        max_age_hours=settings.outbox.max_age_hours,
        commit_interval_s=settings.outbox.commit_interval_ms / 1000,
        commit_at_once=settings.outbox.commit_at_once,
    )


def build_collection(settings: Settings) -> Collection | None:
    """Open the collection of frames with a second opinion; return None if it is disabled.

    Raises:
        InputError: the folder cannot be used, or there is no second opinion.
    """
    if settings.collect.folder is None:
        return None
    if settings.rekognition.project_version_arn is None:
        raise InputError(
            f"collect is {str(settings.collect.folder)!r}, but there is no second opinion: set "
            "rekognition_project_version_arn, or leave collect out"
        )
    collection = Collection(
        settings.collect.folder,
        megabytes=settings.collect.megabytes,
        longest_side=settings.rekognition.longest_side,
        quality=settings.rekognition.jpeg_quality,
        origin=f"{settings.agent.device}/{settings.camera.name}",
    )
    _LOG.warning(
        "collect: frames with a second opinion are kept on this device, in %s (readable by its owner alone), up to "
        "%g MB; delete that folder to delete them",
        settings.collect.folder.absolute(),
        settings.collect.megabytes,
    )
    return collection


def build_second_opinion(settings: Settings, collection: Collection | None) -> SecondOpinion | None:
    """Build the second opinion of the configured cloud model; return None if there is none.

    Args:
        settings: the model and its limits.
        collection: collection of the frames with a second opinion; None for none.

    Raises:
        InputError: boto3 is not installed, the model's ARN is invalid, or the file of the budget cannot be used.
    """
    if settings.rekognition.project_version_arn is None:
        return None
    with requires_extra("rekognition", feature="a second opinion"):
        from beeagent.cloud import RekognitionClient  # noqa: PLC0415 - boto3 is an extra
    client = RekognitionClient(settings.rekognition)
    budget = CallBudget(
        settings.state_file("budget.sqlite3"),
        per_minute=settings.rekognition.per_minute,
        per_day=settings.rekognition.per_day,
    )
    return SecondOpinion(
        client,
        CallGuard(budget),
        workers=settings.rekognition.workers,
        timeout=settings.rekognition.timeout,
        same_for=settings.rekognition.same_for,
        collect=None if collection is None else collection.add,
    )


def _stream_open_timeout(settings: Settings) -> float:
    """Return the time-out in seconds for opening a stream, at least that for its frames."""
    return max(_STREAM_OPEN_TIMEOUT_S, settings.camera.timeout)


def _capture_format(settings: Settings, address: CameraAddress) -> CaptureFormat:
    local = isinstance(address, NumberAddress | DeviceAddress | CsiAddress)
    played = settings.camera.realtime and isinstance(address, ImageAddress | FolderAddress | PatternAddress)
    for key, value, possible in (
        ("camera_size", settings.camera.size, local),
        ("camera_fps", settings.camera.fps, local or played),
    ):
        if value is not None and not possible:
            raise InputError(f"{key} is set to {value} and cannot be set on {address.description}: leave it out")
    width, height = map(int, settings.camera.size.split("x")) if settings.camera.size else (None, None)
    return CaptureFormat(width=width, height=height, fps=settings.camera.fps)


def _greengrass_publisher(
    settings: Settings, address: Greengrass, topic: str, ipc: "IpcConnection | None"
) -> Publisher:
    if ipc is None:
        raise InputError(
            f"broker {address} is the nucleus of a Greengrass component, and this process is not one: run it there "
            "with --greengrass, or give another broker here"
        )
    from beeagent.greengrass import GreengrassPublisher  # noqa: PLC0415 - for Greengrass only

    return GreengrassPublisher(
        ipc=ipc,
        destination=address.destination,
        status_topic=topic,
        confirmation=settings.greengrass.confirm,
    )
