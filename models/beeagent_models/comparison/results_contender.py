"""A folder of results as a contender of a comparison: Rekognition responses or messages of the agent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from beeagent.detection import Detections
from beeagent.errors import InputError

from beeagent_models.comparison.contenders import Findings, Spec, jpeg_bytes
from beeagent_models.datasets import Dataset, LabelledImage, load_image
from beeagent_models.results import (
    NO_LABEL,
    Result,
    is_source,
    read_result,
    read_sources,
    refuse_other_image,
    result_bytes,
)

Place = tuple[Path, int]
"""Where a result is: the file, and the line in it, from 1."""

_NAMED = 3
"""Images without a result that are named; the others are counted."""


class ResultsSource:
    """Reads the results that lie in a folder: for `a.jpg` either `a.jpg.json` or `a.json`.

    Where there is no such file, a message that names `a.jpg` as its source, in any `.json` or `.jsonl` file of the
    folder.

    Args:
        spec: names the folder.
        dataset: the images.
        allow_missing: whether an image without a result counts as one without a detection.

    Raises:
        InputError: results are missing, one would belong to two images, or one cannot be read.
    """

    def __init__(self, spec: Spec, dataset: Dataset, *, allow_missing: bool) -> None:
        self._name = spec.name
        folder = Path(spec.what)
        by_source = _by_source(folder)
        files = [_named_after(folder, image) or _about(by_source, image) for image in dataset.images]
        _refuse_missing(folder, dataset, files, allow_missing=allow_missing)
        _refuse_shared(dataset, files)
        self._files = files
        self._results = [
            None if file is None else _read(file, image, dataset)
            for file, image in zip(files, dataset.images, strict=True)
        ]

    def find(self, dataset: Dataset, step: Callable[[], object]) -> Findings:
        """Return the detections of the results; see `Source.find`."""
        known = [result for result in self._results if result is not None]
        messages = all(result.kind == "message" for result in known)
        # Nothing found in any image is a result too, and about the labels of the dataset.
        labels = () if any(len(result.detections) for result in known) else dataset.labels
        found, sent = [], []
        for result, file, image in zip(self._results, self._files, dataset.images, strict=True):
            detections = _nothing(labels) if result is None else result.detections
            found.append(detections if len(detections) else _nothing(labels))
            if not messages:
                sent.append(jpeg_bytes(load_image(image)))
            else:
                sent.append(0 if file is None else result_bytes(*file))
            step()
        took = [result.milliseconds for result in known if result.milliseconds is not None]
        return Findings(
            name=self._name,
            kind="messages" if messages else "answers",
            detections=tuple(found),
            seconds=np.array(took) / 1e3 if len(took) == len(known) else None,
            sent=np.array(sent, np.int64),
        )


def _named_after(folder: Path, image: LabelledImage) -> Place | None:
    """Return the place of the result whose file is named after an image; None if there is none."""
    names = (f"{image.path.name}.json", f"{image.path.stem}.json")
    return next(((folder / name, 1) for name in names if (folder / name).is_file()), None)


def _by_source(folder: Path) -> dict[str, list[tuple[str, Place]]]:
    """Return where the messages are that name their source, by its file name; frames of a video are no images."""
    found: dict[str, list[tuple[str, Place]]] = {}
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl") and path.is_file())
    for path in files:
        for line, source, position_s in read_sources(path):
            if position_s is None:
                found.setdefault(Path(source).name, []).append((source, (path, line)))
    return found


def _about(by_source: Mapping[str, Sequence[tuple[str, Place]]], image: LabelledImage) -> Place | None:
    """Return the place of the message that names an image as its source; None if there is none.

    Raises:
        InputError: there is more than one.
    """
    places = [place for source, place in by_source.get(image.path.name, ()) if is_source(source, image.path)]
    if len(places) > 1:
        (first, line), (second, other), *_ = places
        raise InputError(f"two results are about {image.path}: {first}:{line} and {second}:{other}")
    return places[0] if places else None


def _refuse_missing(folder: Path, dataset: Dataset, files: Sequence[Place | None], *, allow_missing: bool) -> None:
    missing = [image.path.name for image, file in zip(dataset.images, files, strict=True) if file is None]
    if not missing or (allow_missing and len(missing) < len(files)):
        return
    named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    advice = "" if len(missing) == len(files) else "; --allow-missing counts them as without a detection"
    raise InputError(
        f"{folder}: no result for {len(missing)} of {len(files)} images ({named}), "
        f"which would be in {missing[0]}.json or {Path(missing[0]).stem}.json, or name their source{advice}"
    )


def _refuse_shared(dataset: Dataset, files: Sequence[Place | None]) -> None:
    taken: dict[Place, Path] = {}
    for image, file in zip(dataset.images, files, strict=True):
        if file is None:
            continue
        if file in taken:
            raise InputError(f"{_where(file)} would be the result of two images, {taken[file]} and {image.path}")
        taken[file] = image.path


def _where(place: Place) -> str:
    path, line = place
    return str(path) if path.suffix == ".json" and line == 1 else f"{path}:{line}"


def _read(place: Place, image: LabelledImage, dataset: Dataset) -> Result:
    size = (image.width, image.height)
    file = _where(place)
    result = read_result(place[0], line=place[1], image_size=size)
    refuse_other_image(result, where=file, image=image.path, size=size)
    found = result.detections
    if result.kind != "boxes" or NO_LABEL not in found.labels or NO_LABEL in dataset.labels:
        return result
    # A list of boxes may not say what they are.
    if len(dataset.labels) > 1:
        raise InputError(
            f"{file}: boxes without a label, where {dataset.name} is labelled {', '.join(dataset.labels)}: "
            'give each a "label"'
        )
    labels = tuple(dataset.labels[0] if label == NO_LABEL else label for label in found.labels)
    return replace(result, detections=replace(found, labels=labels))


def _nothing(labels: tuple[str, ...]) -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), labels)
