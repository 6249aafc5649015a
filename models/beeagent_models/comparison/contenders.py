"""Contenders of a comparison: how they are named on the command line, and what each of them found."""

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

FORM: Final = "[NAME=]WHAT[,tiles=CxR][,labels=FILE]"
MAX_CONTENDERS: Final = 6
"""Maximum number of contenders of one comparison: more cannot be distinguished on one page."""

_OPTION = re.compile(r",(?=(?:tiles|labels)=)")


@dataclass(frozen=True, slots=True)
class Spec:
    """One of those to be compared.

    Attributes:
        name: to call it.
        what: a bundle, the name of a bundled model, a bare `.tflite`, a folder of results, or an ARN.
        tiles: for a model of the device, as the agent takes it; None as the bundle recommends.
        labels: of a bare `.tflite`.
    """

    name: str
    what: str
    tiles: str | None = None
    labels: Path | None = None

    @property
    def is_arn(self) -> bool:
        """Whether it is a model in the cloud."""
        return self.what.startswith("arn:")


def parse_specs(texts: Sequence[str]) -> list[Spec]:
    """Take apart how all contenders are named.

    Raises:
        InputError: one is not understood, there are too few or too many, or two have one name.
    """
    specs = [parse_spec(text) for text in texts]
    if not 2 <= len(specs) <= MAX_CONTENDERS:
        raise InputError(f"{len(specs)} contenders: allowed are 2 to {MAX_CONTENDERS}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{names.count(name)} contenders are called {name}: give each a name, NAME=WHAT")
    return specs


def parse_spec(text: str) -> Spec:
    """Take apart how a contender is named; without a name it is called after itself.

    Raises:
        InputError: there is nothing on one side of an `=`, or an option is there twice.
    """
    head, *given = _OPTION.split(text)
    options = dict(option.split("=", 1) for option in given)
    if len(options) < len(given) or not all(options.values()):
        raise InputError(f"'{text}': an option is given twice, or without a value: write {FORM}")
    name, equals, what = head.partition("=")
    if not equals or head.startswith("arn:") or Path(head).exists():
        name, what = _own_name(head, options.get("tiles")), head
    if not name or not what:
        raise InputError(f"'{text}' names no contender: write {FORM}")
    labels = options.get("labels")
    return Spec(name, what, options.get("tiles"), None if labels is None else Path(labels))


def _own_name(what: str, tiles: str | None) -> str:
    if what.startswith("arn:"):
        # The version's name: arn:…:project/NAME/version/VERSION/NUMBER
        return what.split("/")[-2] if what.count("/") > 1 else what
    path = Path(what).absolute()
    name = path.stem if path.suffix == ".tflite" else path.name
    return name if tiles is None else f"{name} {tiles}"


Kind = Literal["device", "messages", "answers", "cloud"]
"""A model that runs here, messages of the agent, answers of Rekognition, a model in the cloud."""

# As the agent's settings have them by default, `rekognition_longest_side` and `rekognition_jpeg_quality`.
LONGEST_SIDE: Final = 1280
QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Findings:
    """What one contender found.

    Attributes:
        name: what it is called.
        kind: what it is.
        found: the detections in each image, in the order of the dataset.
        seconds: float64, shape (n,): what each image took, those without a result left out; None where that is not
            known.
        sent: int64, shape (n,): bytes that leave the device for each image: its JPEG for the cloud, its message
            for a model of the device.
    """

    name: str
    kind: Kind
    detections: tuple[Detections, ...]
    seconds: NDArray[np.float64] | None
    sent: NDArray[np.int64]

    @property
    def in_cloud(self) -> bool:
        """Whether the images went, or would go, to a cloud model, which costs by the hour."""
        return self.kind in {"answers", "cloud"}


class Source(Protocol):
    """A contender that is ready to look, or to be read."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Return the detections in the images of the dataset.

        Args:
            dataset: the one that it was made for.
            step: called after each image.

        Raises:
            InputError: an image or a result cannot be used.
        """
        ...


def jpeg_bytes(pixels: NDArray[np.uint8]) -> int:
    """Return the size in bytes of an image's JPEG as the agent sends it to a cloud model.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
    """
    return len(encode_jpeg(pixels, longest_side=LONGEST_SIDE, quality=QUALITY))


# Average precision sums over all thresholds, so next to nothing is held back from it.
_MIN_CONFIDENCE: Final = 0.001


class DeviceSource:
    """Runs a model here, as the agent does.

    Args:
        spec: names a bundle, or a bare `.tflite`.
        dataset: the images.
        threads: CPU threads of an inference.

    Raises:
        InputError: the model cannot be used, or knows none of the dataset's labels.
    """

    def __init__(self, spec: Spec, dataset: Dataset, *, threads: int) -> None:
        self._name = spec.name
        self._bundle = ModelBundle.load(Path(spec.what), labels=spec.labels)
        refuse_unrelated(dataset, frozenset(self._bundle.labels))
        tiling = resolve_tiling(spec.tiles, self._bundle)
        self._detector = Detector(
            self._bundle, DetectorOptions(threads=threads, threshold=_MIN_CONFIDENCE, tiling=tiling)
        )

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Detect objects in each image, and measure the message that the agent would publish; see `Source.find`."""
        found, seconds, sent = [], [], []
        for image in dataset.images:
            pixels = load_image(image)
            began = time.perf_counter()
            found.append(self._detector.detect(pixels))
            seconds.append(time.perf_counter() - began)
            sent.append(self._message_bytes(found[-1], image, 1e3 * seconds[-1]))
            step()
        return Findings(self._name, "device", tuple(found), np.array(seconds), np.array(sent, np.int64))

    def _message_bytes(self, found: Detections, image: LabelledImage, milliseconds: float) -> int:
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
            detections=found.at_least(self._bundle.threshold),
            inference_ms=milliseconds,
            total_ms=milliseconds,
        )
        return len(message.encode(limit=MAX_PAYLOAD_BYTES))
