"""What the settings choose: the model and how to run it, the camera, and how to be let in by the broker."""

from pathlib import Path

from beeagent.camera import (
    ALLOWED_CAMERAS,
    CameraAddress,
    CaptureFormat,
    CaptureLimits,
    CsiAddress,
    DeviceAddress,
    FolderAddress,
    ImageAddress,
    NumberAddress,
    PatternAddress,
    SourceOpener,
    SourceOptions,
    StreamAddress,
    StreamTimeouts,
    parse_camera,
)
from beeagent.detection import (
    DetectorOptions,
    DetectorPool,
    ModelBundle,
    load_probed_bundle,
    resolve_tiling,
    uncertainty_range,
)
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, MqttOptions, mqtt_options
from beeagent.outbox import Outbox
from beeagent.settings import Settings

_STREAM_OPENS_WITHIN_S = 8.0
_OPENING_TAKES_MORE_S = 12.0
"""How much longer than a stream's own time-out an opening may take: for looking up names, and finding out why it
failed."""


def chosen_bundle(settings: Settings) -> ModelBundle:
    """Load the model that the settings name, or the default model.

    A bare model, for which no hash vouches, is tried in a process of its own first.

    Raises:
        InputError: it cannot be used.
        BeeagentError: the installation lacks the default model.
    """
    threads = settings.model.threads // chosen_workers(settings)
    return load_probed_bundle(settings.model.path, labels=settings.model.labels, threads=threads)


def chosen_workers(settings: Settings) -> int:
    """Give how many frames are to be looked at at the same time.

    Two frames on one thread each are looked at in less time than one after the other on two threads: an inference
    has parts that only one thread can do, and its threads wait for each other whenever one has lost its core to
    another task. More than two at once would cost memory and make each result later, for little.

    Args:
        settings: of which threads and workers count.

    Raises:
        InputError: there are more workers than threads.
    """
    if settings.model.workers is None:
        return min(2, settings.model.threads)
    if settings.model.workers > settings.model.threads:
        raise InputError(
            f"workers is {settings.model.workers} and threads is {settings.model.threads}: "
            "each worker needs a thread of its own"
        )
    return settings.model.workers


def loaded_model(settings: Settings, bundle: ModelBundle) -> DetectorPool:
    """Load a model as often as frames are to be looked at at the same time.

    Args:
        settings: of which threads, workers, threshold, tiles and the band of unsure confidences count.
        bundle: the model.

    Raises:
        InputError: there are more workers than threads, the band is none, or the model cannot be used.
    """
    workers = chosen_workers(settings)
    options = DetectorOptions(
        threads=settings.model.threads // workers,
        threshold=settings.model.threshold,
        tiling=resolve_tiling(settings.model.tiles, bundle),
    )
    unsure = None
    if settings.rekognition.project_version_arn is not None:
        threshold = bundle.threshold if settings.model.threshold is None else settings.model.threshold
        unsure = uncertainty_range(
            bundle, threshold=threshold, low=settings.rekognition.unsure_low, high=settings.rekognition.unsure_high
        )
    return DetectorPool(bundle, options, size=workers, uncertainty=unsure)


def chosen_source(settings: Settings) -> SourceOpener:
    """Give what opens the camera that the settings name.

    Raises:
        InputError: they name none, or what cannot be one.
    """
    if settings.camera.address is None:
        raise InputError(f"no camera is given: --camera takes {ALLOWED_CAMERAS}")
    # A stream that stalls should say so itself, a little before capture only sees that no frame comes.
    timeouts = StreamTimeouts(opening=_stream_opens_within(settings), reading=0.8 * settings.camera.timeout)
    address = parse_camera(settings.camera.address)
    options = SourceOptions(
        realtime=settings.camera.realtime,
        wanted=_wanted_format(settings, address),
        timeouts=timeouts,
        poll_interval=min(1.0, 1 / (settings.camera.max_rate or 1.0), settings.camera.timeout / 2),
        freeze_timeout=settings.camera.freeze_timeout or None,
    )
    return SourceOpener(address, options)


def _wanted_format(settings: Settings, address: CameraAddress) -> CaptureFormat:
    """Return what the settings ask of the camera.

    Raises:
        InputError: they ask for something that cannot be set on what they name as the camera.
    """
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


def chosen_capture_limits(settings: Settings) -> CaptureLimits:
    """Give what the settings let a camera do before it counts as lost."""
    return CaptureLimits(
        max_rate=settings.camera.max_rate,
        camera_timeout=settings.camera.timeout,
        open_timeout=_stream_opens_within(settings) + _OPENING_TAKES_MORE_S,
        await_camera=settings.camera.await_camera and _may_come(settings.camera.address),
    )


def _may_come(camera: str | None) -> bool:
    """Tell whether something may be attached or switched on later; a file that is missing is a mistake."""
    address = None if camera is None else parse_camera(camera)
    return isinstance(address, NumberAddress | DeviceAddress | CsiAddress | StreamAddress)


def _stream_opens_within(settings: Settings) -> float:
    """Seconds; a stream whose frames may come slowly may open as slowly."""
    return max(_STREAM_OPENS_WITHIN_S, settings.camera.timeout)


def chosen_mqtt_options(settings: Settings, *, address: BrokerAddress, client_id: str) -> MqttOptions:
    """Put together what the settings say of a broker.

    Args:
        settings: of which user, password, certificates and the version of MQTT count.
        address: of the broker, from the settings or not.
        client_id: who connects.

    Raises:
        InputError: things contradict each other, or a file cannot be used.
    """
    return mqtt_options(
        address=address,
        client_id=client_id,
        username=settings.mqtt.username,
        password=settings.mqtt.read_password(),
        ca_file=settings.mqtt.ca_file,
        certificate_file=settings.mqtt.certificate_file,
        key_file=settings.mqtt.key_file,
        insecure=settings.mqtt.insecure_tls,
        version=settings.mqtt.version,
    )


def chosen_outbox(settings: Settings, path: Path | None) -> Outbox:
    """Open the outbox with what the settings say of it.

    Args:
        settings: of which the keys that begin with `outbox_` count.
        path: of the file; None for memory alone.

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
