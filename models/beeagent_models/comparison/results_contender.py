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

Location = tuple[Path, int]
"""Location of a result: file, and line from 1."""

_LISTED = 3
"""Maximum number of images without a result that the error lists."""


class ResultsSource:
    """Reads the results in a folder.

    The result of `a.jpg` is `a.jpg.json` or `a.json`, or a message with the source `a.jpg` in any `.json` or `.jsonl`
    file of the folder.

    Args:
        spec: contender with the folder.
        dataset: the images.
        allow_missing: count images without a result as images without detections.

    Raises:
        InputError: a result is missing, ambiguous or invalid.
    """

    def __init__(self, spec: Spec, dataset: Dataset, *, allow_missing: bool) -> None:
        self._name = spec.name
        folder = Path(spec.location)
        by_source = _index_sources(folder)
        files = [_find_by_name(folder, image) or _find_by_source(by_source, image) for image in dataset.images]
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
        # Results without any detection have no labels: take those of the dataset.
        labels = () if any(len(result.detections) for result in known) else dataset.labels
        all_detections, sent = [], []
        for result, file, image in zip(self._results, self._files, dataset.images, strict=True):
            detections = _no_detections(labels) if result is None else result.detections
            all_detections.append(detections if len(detections) else _no_detections(labels))
            if not messages:
                sent.append(jpeg_bytes(load_image(image)))
            else:
                sent.append(0 if file is None else result_bytes(*file))
            step()
        durations = [result.milliseconds for result in known if result.milliseconds is not None]
        return Findings(
            name=self._name,
            kind="messages" if messages else "answers",
            detections=tuple(all_detections),
            seconds=np.array(durations) / 1e3 if len(durations) == len(known) else None,
            sent=np.array(sent, np.int64),
        )


def _find_by_name(folder: Path, image: LabelledImage) -> Location | None:
    """Return the location of the result whose file has the image's name, or None."""
    names = (f"{image.path.name}.json", f"{image.path.stem}.json")
    return next(((folder / name, 1) for name in names if (folder / name).is_file()), None)


def _index_sources(folder: Path) -> dict[str, list[tuple[str, Location]]]:
    """Return source and location of messages by the file name of the source, without frames of videos."""
    index: dict[str, list[tuple[str, Location]]] = {}
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl") and path.is_file())
    for path in files:
        for line, source, position_s in read_sources(path):
            if position_s is None:
                index.setdefault(Path(source).name, []).append((source, (path, line)))
    return index


def _find_by_source(by_source: Mapping[str, Sequence[tuple[str, Location]]], image: LabelledImage) -> Location | None:
    """Return the location of the message with the image as source, or None.

    Raises:
        InputError: there are several.
    """
    locations = [location for source, location in by_source.get(image.path.name, ()) if is_source(source, image.path)]
    if len(locations) > 1:
        (first, line), (second, other), *_ = locations
        raise InputError(f"{image.path} has two results, {first}:{line} and {second}:{other}: remove one")
    return locations[0] if locations else None


def _refuse_missing(folder: Path, dataset: Dataset, files: Sequence[Location | None], *, allow_missing: bool) -> None:
    missing = [image.path.name for image, file in zip(dataset.images, files, strict=True) if file is None]
    if not missing or (allow_missing and len(missing) < len(files)):
        return
    listed = ", ".join(missing[:_LISTED]) + (", …" if len(missing) > _LISTED else "")
    advice = "" if len(missing) == len(files) else "; --allow-missing counts them as images without detections"
    raise InputError(
        f"{folder}: no result for {len(missing)} of {len(files)} images ({listed}), "
        f"neither as {missing[0]}.json or {Path(missing[0]).stem}.json, nor by source{advice}"
    )


def _refuse_shared(dataset: Dataset, files: Sequence[Location | None]) -> None:
    images: dict[Location, Path] = {}
    for image, file in zip(dataset.images, files, strict=True):
        if file is None:
            continue
        if file in images:
            raise InputError(
                f"{_where(file)} would be the result of two images, {images[file]} and {image.path}: rename one"
            )
        images[file] = image.path


def _where(location: Location) -> str:
    path, line = location
    return str(path) if path.suffix == ".json" and line == 1 else f"{path}:{line}"


def _read(location: Location, image: LabelledImage, dataset: Dataset) -> Result:
    size = (image.width, image.height)
    file = _where(location)
    result = read_result(location[0], line=location[1], image_size=size)
    refuse_other_image(result, where=file, image=image.path, size=size)
    detections = result.detections
    if result.kind != "boxes" or NO_LABEL not in detections.labels or NO_LABEL in dataset.labels:
        return result
    # Entries of a list of boxes may have no label.
    if len(dataset.labels) > 1:
        raise InputError(
            f"{file}: has boxes without a label, but {dataset.name} has the labels {', '.join(dataset.labels)}: "
            'add a "label" to each'
        )
    labels = tuple(dataset.labels[0] if label == NO_LABEL else label for label in detections.labels)
    return replace(result, detections=replace(detections, labels=labels))


def _no_detections(labels: tuple[str, ...]) -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), labels)
