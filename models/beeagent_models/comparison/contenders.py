"""Contenders of a comparison: parsing of their arguments, and their detections."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal, Protocol
from uuid import UUID

import numpy as np
from beeagent.camera import encode_jpeg
from beeagent.detection import Detections, Detector, DetectorOptions, ModelBundle, resolve_tiling
from beeagent.errors import InputError
from beeagent.messages import detections_message
from beeagent.outbox import MAX_PAYLOAD_BYTES
from numpy.typing import NDArray

from beeagent_models.datasets import Dataset, LabelledImage, load_image
from beeagent_models.evaluation import refuse_unrelated

FORM: Final = "[NAME=]MODEL[,tiles=CxR][,labels=FILE]"
MAX_CONTENDERS: Final = 6
"""Maximum number of contenders; more are hard to distinguish on a page."""

_OPTION = re.compile(r",(?=(?:tiles|labels)=)")


@dataclass(frozen=True, slots=True)
class Spec:
    """A contender as given on the command line.

    Attributes:
        name: name of the contender.
        location: a bundle, the name of a bundled model, a bare `.tflite`, a folder of results, or an ARN.
        tiles: tiles of a device model, in the agent's notation; None for the bundle's recommendation.
        labels: labels file of a bare `.tflite`.
    """

    name: str
    location: str
    tiles: str | None = None
    labels: Path | None = None

    @property
    def is_arn(self) -> bool:
        """True for a cloud model."""
        return self.location.startswith("arn:")


def parse_specs(texts: Sequence[str]) -> list[Spec]:
    """Parse the arguments of all contenders.

    Raises:
        InputError: an argument is invalid, there are too few or too many, or a name is duplicate.
    """
    specs = [parse_spec(text) for text in texts]
    if not 2 <= len(specs) <= MAX_CONTENDERS:
        raise InputError(f"{len(specs)} contenders: give 2 to {MAX_CONTENDERS}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{names.count(name)} contenders have the name {name}: give other names, NAME=MODEL")
    return specs


def parse_spec(text: str) -> Spec:
    """Parse the argument of a contender; the default name is derived from the model.

    Raises:
        InputError: a name or a value is empty, or an option is duplicate.
    """
    head, *parts = _OPTION.split(text)
    options = dict(option.split("=", 1) for option in parts)
    if len(options) < len(parts) or not all(options.values()):
        raise InputError(f"'{text}': an option is duplicate, or has no value: give {FORM}")
    name, equals, location = head.partition("=")
    if not equals or head.startswith("arn:") or Path(head).exists():
        name, location = _default_name(head, options.get("tiles")), head
    if not name or not location:
        raise InputError(f"'{text}' is not a contender: give {FORM}")
    labels = options.get("labels")
    return Spec(name, location, options.get("tiles"), None if labels is None else Path(labels))


def _default_name(location: str, tiles: str | None) -> str:
    if location.startswith("arn:"):
        # The version's name: arn:…:project/NAME/version/VERSION/NUMBER
        return location.split("/")[-2] if location.count("/") > 1 else location
    path = Path(location).absolute()
    name = path.stem if path.suffix == ".tflite" else path.name
    return name if tiles is None else f"{name} {tiles}"


Kind = Literal["device", "messages", "answers", "cloud"]
"""A local device model, messages of the agent, stored responses of Rekognition, a cloud model."""

# Defaults of the agent's settings `rekognition_longest_side` and `rekognition_jpeg_quality`.
LONGEST_SIDE: Final = 1280
QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Findings:
    """Results of one contender.

    Attributes:
        name: name of the contender.
        kind: kind of the contender.
        detections: detections in each image, in the order of the dataset.
        seconds: float64, shape (n,): processing time of each image with a result; None if unknown.
        sent: int64, shape (n,): number of bytes sent per image: the JPEG for a cloud model, the message for a device
            model.
    """

    name: str
    kind: Kind
    detections: tuple[Detections, ...]
    seconds: NDArray[np.float64] | None
    sent: NDArray[np.int64]

    @property
    def in_cloud(self) -> bool:
        """True for results of a cloud model, which is billed per hour."""
        return self.kind in {"answers", "cloud"}


class Source(Protocol):
    """A detector, or stored results."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Return the detections in the images of the dataset.

        Args:
            dataset: dataset that the source was created for.
            step: called after each image.

        Raises:
            InputError: an image or a result cannot be used.
        """
        ...


def jpeg_bytes(pixels: NDArray[np.uint8]) -> int:
    """Return the size in bytes of the JPEG that the agent would send to a cloud model.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
    """
    return len(encode_jpeg(pixels, longest_side=LONGEST_SIDE, quality=QUALITY))


# Low, because average precision integrates over all thresholds.
_MIN_CONFIDENCE: Final = 0.001


class DeviceSource:
    """Runs a device model like the agent.

    Args:
        spec: contender with a bundle or a bare `.tflite`.
        dataset: the images.
        threads: number of CPU threads of an inference.

    Raises:
        InputError: the model cannot be used, or has no label in common with the dataset.
    """

    def __init__(self, spec: Spec, dataset: Dataset, *, threads: int) -> None:
        self._name = spec.name
        self._bundle = ModelBundle.load(Path(spec.location), labels=spec.labels)
        refuse_unrelated(dataset, frozenset(self._bundle.labels))
        tiling = resolve_tiling(spec.tiles, self._bundle)
        self._detector = Detector(
            self._bundle, DetectorOptions(threads=threads, threshold=_MIN_CONFIDENCE, tiling=tiling)
        )

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Detect objects in each image, and measure the message that the agent would publish; see `Source.find`."""
        detections, seconds, sent = [], [], []
        for image in dataset.images:
            pixels = load_image(image)
            start = time.perf_counter()
            detections.append(self._detector.detect(pixels))
            seconds.append(time.perf_counter() - start)
            sent.append(self._message_bytes(detections[-1], image, 1e3 * seconds[-1]))
            step()
        return Findings(self._name, "device", tuple(detections), np.array(seconds), np.array(sent, np.int64))

    def _message_bytes(self, detections: Detections, image: LabelledImage, milliseconds: float) -> int:
        message = detections_message(
            event_id=UUID(int=0),
            device="hive",
            camera="front",
            seq=1,
            captured_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
            frame_width=image.width,
            frame_height=image.height,
            model=self._bundle.identity,
            decided_by="edge",
            detections=detections.at_least(self._bundle.threshold),
            inference_ms=milliseconds,
            total_ms=milliseconds,
        )
        return len(message.encode(limit=MAX_PAYLOAD_BYTES))
