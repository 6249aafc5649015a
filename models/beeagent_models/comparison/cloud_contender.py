"""A cloud model as a contender of a comparison. Needs the extra `rekognition`."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
from beeagent.backoff import Backoff
from beeagent.camera import Frame
from beeagent.cloud import CloudDetectionError, RekognitionClient
from beeagent.detection import Detections
from beeagent.errors import BeeagentError, InputError
from beeagent.settings import RekognitionSettings

from beeagent_models.comparison.contenders import LONGEST_SIDE, QUALITY, Findings, Spec, jpeg_bytes
from beeagent_models.datasets import Dataset, LabelledImage, load_image
from beeagent_models.datasets.atomic_write import atomic_write, make_folder
from beeagent_models.results import read_result

_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 60.0
_CAPTURED: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)


_Answer = tuple[Detections, float]
"""What the model found, and the seconds that the call took."""


class CloudSource:
    """Shows the images to a Custom Labels model, one after the other, as the agent would.

    Args:
        spec: names the model's version by its ARN.
        dataset: the images.
        keep: folder in which to keep the answers, each as `<image>.json` in a folder of the contender's name; one
            that is there already, from the same model, is not asked for again. None keeps none.
        wait: waits for a number of seconds when the service throttles.

    Raises:
        InputError: the ARN is none, or answers cannot be kept there.
    """

    def __init__(
        self, spec: Spec, dataset: Dataset, *, keep: Path | None, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self._spec = spec
        self._wait = wait
        self._client = RekognitionClient(
            RekognitionSettings(
                project_version_arn=spec.what,
                min_confidence=0.0,
                longest_side=LONGEST_SIDE,
                jpeg_quality=QUALITY,
                timeout=_TIMEOUT_S,
            )
        )
        self._folder = None if keep is None else _kept_in(keep, spec, dataset)
        self.calls = sum(self._kept(image) is None for image in dataset.images)
        """How many calls it is about to make."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Ask about each image; see `Source.find`.

        Raises:
            InputError: an image cannot be used, or the model not be asked: it does not run, or there are no
                credentials.
            BeeagentError: the service does not answer.
        """
        found, seconds, sent = [], [], []
        try:
            for index, image in enumerate(dataset.images):
                pixels = load_image(image)
                answer = self._kept(image)
                if answer is None:
                    answer = self._asked(Frame(pixels, _CAPTURED, 0, index, image.path.name), dataset.labels)
                    self._keep(image, answer)
                found.append(answer[0])
                seconds.append(answer[1])
                sent.append(jpeg_bytes(pixels))
                step()
        finally:
            self._client.close()
        return Findings(self._spec.name, "cloud", tuple(found), np.array(seconds), np.array(sent, np.int64))

    def _asked(self, frame: Frame, labels: tuple[str, ...]) -> _Answer:
        backoff = Backoff(first=_FIRST_WAIT_S, longest=_MAX_WAIT_S)
        for attempt in range(1, _TRIES + 1):
            began = time.perf_counter()
            try:
                found = self._client.detect(frame, labels)
            except CloudDetectionError as error:
                if error.reason not in {"throttled", "timeout"}:
                    raise self._refusal(error, frame) from None
                if attempt == _TRIES:
                    kept = "" if self._folder is None else f"; the responses so far are in {self._folder}"
                    raise BeeagentError(
                        f"{self._spec.name}: failed {_TRIES} times for {frame.name}: {error}{kept}"
                    ) from None
                self._wait(max(backoff.next(), error.retry_after_s or 0.0))
            else:
                return found, time.perf_counter() - began
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, error: CloudDetectionError, frame: Frame) -> InputError:
        advice = {
            "model-not-running": f"; start it with beeagent rekognition start --arn {self._spec.what}",
            "credentials": "; give some that allow it, as AWS_PROFILE does",
        }.get(error.reason, "")
        return InputError(f"{self._spec.name}: failed for {frame.name}: {error}{advice}")

    def _kept(self, image: LabelledImage) -> _Answer | None:
        """Return the cached response; None if it is another model's, or has no duration."""
        file = None if self._folder is None else self._folder / f"{image.path.name}.json"
        if file is None or not file.is_file():
            return None
        result = read_result(file, image_size=(image.width, image.height))
        if result.milliseconds is None or result.model != self._spec.what:
            return None
        return result.detections, result.milliseconds / 1e3

    def _keep(self, image: LabelledImage, answer: _Answer) -> None:
        if self._folder is None:
            return
        found, seconds = answer
        content = {
            "CustomLabels": [_custom_label(found, index) for index in range(len(found))],
            "ProjectVersionArn": self._spec.what,
            "Milliseconds": round(seconds * 1e3, 1),
        }
        with atomic_write(self._folder / f"{image.path.name}.json") as file:
            json.dump(content, file, indent=1)


def _kept_in(keep: Path, spec: Spec, dataset: Dataset) -> Path:
    if "/" in spec.name or spec.name in {".", ".."} or not spec.name.isprintable():
        raise InputError(f"{spec.name!r} cannot be the name of a cache folder: give another name, NAME=ARN")
    folder = keep / spec.name
    names = [image.path.name for image in dataset.images]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"two images are called {twice}: their responses cannot be cached in one folder")
    make_folder(folder)
    return folder


def _custom_label(found: Detections, index: int) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) for edge in found.boxes[index])
    return {
        "Name": found.label(index),
        "Confidence": 100 * float(found.confidences[index]),
        "Geometry": {"BoundingBox": {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}},
    }
