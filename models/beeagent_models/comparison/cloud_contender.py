"""A cloud model as a contender of a comparison. Needs the extra `rekognition`."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
from beeagent.camera import Frame
from beeagent.cloud import CloudDetectionError, RekognitionClient
from beeagent.detection import Detections
from beeagent.errors import BeeagentError, InputError
from beeagent.settings import RekognitionSettings
from beeagent.threads import Backoff

from beeagent_models.comparison.contenders import LONGEST_SIDE, QUALITY, Findings, Spec, jpeg_bytes
from beeagent_models.datasets import Dataset, LabelledImage, load_image
from beeagent_models.datasets.atomic_write import atomic_write, make_folder
from beeagent_models.results import read_result

_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 60.0
_CAPTURED: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)


_Response = tuple[Detections, float]
"""Detections, and the duration of the call in seconds."""


class CloudSource:
    """Detects objects with a Custom Labels model, one image after the other, like the agent.

    Args:
        spec: contender with the ARN of the model version.
        dataset: the images.
        keep: cache folder for responses, as `NAME/<image>.json`; cached responses of the same model are used. None for
            no cache.
        wait: waits for a number of seconds when the service throttles.

    Raises:
        InputError: the ARN is invalid, or the cache cannot be used.
    """

    def __init__(
        self, spec: Spec, dataset: Dataset, *, keep: Path | None, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self._spec = spec
        self._wait = wait
        self._client = RekognitionClient(
            RekognitionSettings(
                project_version_arn=spec.location,
                min_confidence=0.0,
                longest_side=LONGEST_SIDE,
                jpeg_quality=QUALITY,
                timeout=_TIMEOUT_S,
            )
        )
        self._folder = None if keep is None else _cache_folder(keep, spec, dataset)
        self.calls = sum(self._cached(image) is None for image in dataset.images)
        """Number of calls that `find` makes."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Call the model for each image; see `Source.find`.

        Raises:
            InputError: an image cannot be used, the model is not running, or there are no credentials.
            BeeagentError: the service does not respond.
        """
        detections, seconds, sent = [], [], []
        try:
            for index, image in enumerate(dataset.images):
                pixels = load_image(image)
                response = self._cached(image)
                if response is None:
                    response = self._call(Frame(pixels, _CAPTURED, 0, index, image.path.name), dataset.labels)
                    self._cache(image, response)
                detections.append(response[0])
                seconds.append(response[1])
                sent.append(jpeg_bytes(pixels))
                step()
        finally:
            self._client.close()
        return Findings(self._spec.name, "cloud", tuple(detections), np.array(seconds), np.array(sent, np.int64))

    def _call(self, frame: Frame, labels: tuple[str, ...]) -> _Response:
        backoff = Backoff(first=_FIRST_WAIT_S, longest=_MAX_WAIT_S)
        for attempt in range(1, _TRIES + 1):
            start = time.perf_counter()
            try:
                detections = self._client.detect(frame, labels)
            except CloudDetectionError as error:
                if error.reason not in {"throttled", "timeout"}:
                    raise self._error(error, frame) from None
                if attempt == _TRIES:
                    cached = "" if self._folder is None else f"; the responses so far are in {self._folder}"
                    raise BeeagentError(
                        f"{self._spec.name}: failed {_TRIES} times for {frame.name}: {error}{cached}"
                    ) from None
                self._wait(max(backoff.next(), error.retry_after_s or 0.0))
            else:
                return detections, time.perf_counter() - start
        raise AssertionError("the last attempt returns or raises")

    def _error(self, error: CloudDetectionError, frame: Frame) -> InputError:
        advice = {
            "model-not-running": f"; start it with beeagent rekognition start --arn {self._spec.location}",
            "credentials": "; give credentials with this permission, for example by AWS_PROFILE",
        }.get(error.reason, "")
        return InputError(f"{self._spec.name}: failed for {frame.name}: {error}{advice}")

    def _cached(self, image: LabelledImage) -> _Response | None:
        """Return the cached response; None if it is another model's, or has no duration."""
        file = None if self._folder is None else self._folder / f"{image.path.name}.json"
        if file is None or not file.is_file():
            return None
        result = read_result(file, image_size=(image.width, image.height))
        if result.milliseconds is None or result.model != self._spec.location:
            return None
        return result.detections, result.milliseconds / 1e3

    def _cache(self, image: LabelledImage, response: _Response) -> None:
        if self._folder is None:
            return
        detections, seconds = response
        content = {
            "CustomLabels": [_custom_label(detections, index) for index in range(len(detections))],
            "ProjectVersionArn": self._spec.location,
            "Milliseconds": round(seconds * 1e3, 1),
        }
        with atomic_write(self._folder / f"{image.path.name}.json") as file:
            json.dump(content, file, indent=1)


def _cache_folder(keep: Path, spec: Spec, dataset: Dataset) -> Path:
    if "/" in spec.name or spec.name in {".", ".."} or not spec.name.isprintable():
        raise InputError(f"{spec.name!r} cannot be the name of a cache folder: give another name, NAME=ARN")
    folder = keep / spec.name
    names = [image.path.name for image in dataset.images]
    duplicate = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if duplicate is not None:
        raise InputError(f"two images have the name {duplicate}: rename one, to cache their responses in one folder")
    make_folder(folder)
    return folder


def _custom_label(detections: Detections, index: int) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) for edge in detections.boxes[index])
    return {
        "Name": detections.label(index),
        "Confidence": 100 * float(detections.confidences[index]),
        "Geometry": {"BoundingBox": {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}},
    }
