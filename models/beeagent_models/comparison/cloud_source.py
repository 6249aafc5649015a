"""A model in the cloud as a contender of a comparison. Needs the extra `rekognition`."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
from beeagent.backoff import Backoff
from beeagent.camera import Frame
from beeagent.cloud.reason import NoOpinionError
from beeagent.cloud.rekognition import RekognitionClient, RekognitionOptions
from beeagent.detection.detections import Detections
from beeagent.errors import BeeagentError, InputError

from beeagent_models.comparison.findings import LONGEST_SIDE, QUALITY, Findings, jpeg_bytes
from beeagent_models.comparison.spec import Spec
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.results import read_result

_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_CAPTURED: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class _Answer:
    detections: Detections
    seconds: float


class CloudSource:
    """Shows the pictures to a Custom Labels model, one after the other, as the agent would.

    Args:
        spec: names the model's version by its ARN.
        dataset: the pictures.
        keep: folder in which to keep the answers, each as `<picture>.json` in a folder of the contender's name; one
            that is there already, from the same model, is not asked for again. None keeps none.
        wait: waits so many seconds; the service may ask for fewer calls.

    Raises:
        InputError: the ARN is none, or answers cannot be kept there.
    """

    def __init__(
        self, spec: Spec, dataset: Dataset, *, keep: Path | None, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self._spec = spec
        self._wait = wait
        self._client = RekognitionClient(
            RekognitionOptions(
                project_version_arn=spec.what,
                min_confidence=0.0,
                longest_side=LONGEST_SIDE,
                quality=QUALITY,
                timeout=_TIMEOUT_S,
            )
        )
        self._folder = None if keep is None else _kept_in(keep, spec, dataset)
        self.calls = sum(self._kept(image) is None for image in dataset.images)
        """How many calls it is about to make."""

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Ask about each picture; see `Source.find`.

        Raises:
            InputError: a picture cannot be used, or the model not be asked: it does not run, or there are no
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
                found.append(answer.detections)
                seconds.append(answer.seconds)
                sent.append(jpeg_bytes(pixels))
                step()
        finally:
            self._client.close()
        return Findings(self._spec.name, "cloud", tuple(found), np.array(seconds), np.array(sent, np.int64))

    def _asked(self, frame: Frame, labels: tuple[str, ...]) -> _Answer:
        backoff = Backoff(first=_FIRST_WAIT_S, longest=_LONGEST_WAIT_S)
        for attempt in range(1, _TRIES + 1):
            began = time.perf_counter()
            try:
                found = self._client.look(frame, labels)
            except NoOpinionError as error:
                if error.reason not in {"throttled", "timeout"}:
                    raise self._refusal(error, frame) from None
                if attempt == _TRIES:
                    kept = "" if self._folder is None else f"; the answers so far are in {self._folder}"
                    raise BeeagentError(
                        f"{self._spec.name}: asked {_TRIES} times about {frame.name}: {error}{kept}"
                    ) from None
                self._wait(max(backoff.next(), error.wait_s or 0.0))
            else:
                return _Answer(found, time.perf_counter() - began)
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, error: NoOpinionError, frame: Frame) -> InputError:
        advice = {
            "model-not-running": f"; start it with beeagent rekognition start --arn {self._spec.what}",
            "credentials": "; give some that allow it, as AWS_PROFILE does",
        }.get(error.reason, "")
        return InputError(f"{self._spec.name}: cannot be asked about {frame.name}: {error}{advice}")

    def _kept(self, image: LabelledImage) -> _Answer | None:
        """Give the answer that was kept; none if it is another model's, or does not say how long it took."""
        file = None if self._folder is None else self._folder / f"{image.path.name}.json"
        if file is None or not file.is_file():
            return None
        result = read_result(file, picture=(image.width, image.height))
        if result.milliseconds is None or result.model != self._spec.what:
            return None
        return _Answer(result.detections, result.milliseconds / 1e3)

    def _keep(self, image: LabelledImage, answer: _Answer) -> None:
        if self._folder is None:
            return
        content = {
            "CustomLabels": [_custom_label(answer.detections, index) for index in range(len(answer.detections))],
            "ProjectVersionArn": self._spec.what,
            "Milliseconds": round(answer.seconds * 1e3, 1),
        }
        file = self._folder / f"{image.path.name}.json"
        part = file.with_suffix(".part")
        try:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            raise InputError(f"the answer {file} cannot be kept: {error.strerror or error}") from None


def _kept_in(keep: Path, spec: Spec, dataset: Dataset) -> Path:
    if "/" in spec.name or spec.name in {".", ".."} or not spec.name.isprintable():
        raise InputError(
            f"{spec.name!r} cannot be the name of a folder to keep answers in: call it otherwise, NAME=ARN"
        )
    folder = keep / spec.name
    names = [image.path.name for image in dataset.images]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"two pictures are called {twice}: their answers cannot be kept in one folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made: {error.strerror or error}") from None
    return folder


def _custom_label(found: Detections, index: int) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) for edge in found.boxes[index])
    return {
        "Name": found.label(index),
        "Confidence": 100 * float(found.confidences[index]),
        "Geometry": {"BoundingBox": {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}},
    }
