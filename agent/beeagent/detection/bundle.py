"""The model bundle: a folder with a model, its labels and a manifest that vouches for both."""

import hashlib
import io
import re
import zipfile
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from beeagent.detection.bundled import bundled_models, resolve_model
from beeagent.detection.geometry import Fit
from beeagent.detection.model_file import label_file_name
from beeagent.errors import InputError

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "manifest.json"

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_DEFAULT_THRESHOLD = 0.5
_COLOUR_MIDDLE = 127.5
_MOST_PACKED = 1_000_000  # bytes of labels; the largest label sets have a tenth of it
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputSpec(_Strict):
    """The model's picture input.

    Attributes:
        width: pixels.
        height: pixels.
        fit: how a frame is laid into it.
        mean: what is subtracted from a pixel's 0 to 255, for models whose input is float or int8.
        std: what the difference is divided by. A uint8 input takes the pixels as they are.
    """

    width: int = Field(ge=1, le=8192)
    height: int = Field(ge=1, le=8192)
    fit: Fit
    mean: float = _COLOUR_MIDDLE
    std: float = Field(default=_COLOUR_MIDDLE, gt=0)


class Threshold(_Strict):
    """The confidence from which a detection counts, and how it was chosen."""

    value: Ratio
    chosen_by: str


class Reliability(_Strict):
    """How often detections of each confidence were right, at IoU 0.5.

    Of n bins of equal width from 0 to 1, bin i holds the confidences from i/n up to (i + 1)/n.

    Attributes:
        detections: how many there were, for each bin.
        right: how many of them matched a box.
    """

    detections: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=1000)]
    right: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _fit_together(self) -> "Reliability":
        if len(self.right) != len(self.detections) or any(
            right > number for right, number in zip(self.right, self.detections, strict=False)
        ):
            raise ValueError("each bin of detections needs a number in right, of at most as many")
        return self


class Metrics(_Strict):
    """What was measured on one dataset; precision and recall are those at IoU 0.5 and the threshold.

    Attributes:
        dataset: name of the dataset.
        split: what it was to the model, such as `validation`.
        ap: mean over IoU 0.50 to 0.95; this and the next three are None for a dataset without any box.
        ap50: at IoU 0.5.
        precision: share of the detections that are right.
        recall: share of the objects that were found.
        false_alarms_per_image: detections per image without any box; None if every image has one.
        threshold: the confidence from which a detection counted.
        reliability: how often each confidence was right, down to low ones; the uncertainty range comes from it.
    """

    dataset: str
    split: str
    ap: Ratio | None = None
    ap50: Ratio | None = None
    precision: Ratio | None = None
    recall: Ratio | None = None
    false_alarms_per_image: Annotated[float, Field(ge=0)] | None = None
    threshold: Ratio
    reliability: Reliability | None = None


class Manifest(_Strict):
    """What `manifest.json` says of a bundle.

    Attributes:
        schema_: the form of this file, always `beeagent.bundle/1`; `schema` in JSON.
        name: of the model, such as `bees-lite0`.
        version: of the model.
        licence: SPDX expression for the weights.
        files: SHA-256 of each other file of the bundle that matters, by name.
        input: of the model.
        labels: the classes, in the order of their ids.
        threshold: the default one.
        tiles: into how many tiles frames are best cut, as `--tiles` takes it.
        metrics: what was measured.
        provenance: how the model was made: command, commit, data, seed.
    """

    schema_: str = Field(default="beeagent.bundle/1", alias="schema", pattern=r"^beeagent\.bundle/1$")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    version: str = Field(min_length=1, max_length=64)
    licence: str
    files: dict[str, Sha256]
    input: InputSpec
    labels: Annotated[list[str], Field(min_length=1)]
    threshold: Threshold
    tiles: str = Field(default="none", pattern=r"^(none|auto|[1-8]x[1-8])$")
    metrics: list[Metrics] = []
    provenance: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model and all that is needed to run it, checked and in memory.

    Attributes:
        path: where it came from, for messages.
        name: of the model.
        sha256: of the .tflite, in hexadecimal.
        model: the .tflite's content.
        labels: the classes in the order of their ids.
        input: how its picture input wants to be fed; None for a bare model, whose own input then decides.
        threshold: the confidence from which a detection counts.
        manifest: the bundle's; None for a bare model.
    """

    path: Path
    name: str
    sha256: str
    model: bytes
    labels: tuple[str, ...]
    input: InputSpec | None
    threshold: float
    manifest: Manifest | None

    @property
    def identity(self) -> str:
        """Name the model for messages, as in `bees-lite0@3f9c21d0`."""
        return f"{self.name}@{self.sha256[:8]}"


def load_bundle(path: Path, *, labels: Path | None = None) -> ModelBundle:
    """Load a bundle folder, a bundled model by its name, or a bare `.tflite` with its labels.

    A bare model without a labels file may have its labels packed in (TFLite metadata).

    Args:
        path: a bundle folder or a .tflite file; or, where no such path exists, the name of a bundled model.
        labels: a text file with a label a line, for a bare model.

    Raises:
        InputError: something is missing, unreadable, or not what the manifest says.
    """
    try:
        path = resolve_model(path)
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"the model {path} cannot be read: {error.strerror or error}") from error
    if not exists:
        raise InputError(
            f"the model {path} cannot be read: No such file or directory; "
            f"the bundled models are {', '.join(bundled_models())}"
        )
    if is_folder:
        if labels is not None:
            raise InputError(f"labels {labels} cannot be combined with the bundle {path}, which has its own")
        return _load_folder(path)
    return _load_bare(path, labels)


def read_labels(text: str, *, name: str) -> tuple[str, ...]:
    """Read a labels file: a label a line, or `id label` on every line.

    Ids that are left out become `???`, the name that COCO label files use for ids without a class.

    Raises:
        InputError: there is no label, a label is missing in the middle or is no text, or an id comes twice.
    """
    lines = text.lstrip("\ufeff").rstrip().splitlines()
    if not lines:
        raise InputError(f"the labels file {name} is empty: it needs one label a line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(f"the labels file {name} has no label in line {number}")
        if _CONTROL_CHARACTER.search(line):
            raise InputError(f"the labels file {name} has a control character in line {number}: it is no text file")
    numbered = [re.fullmatch(r"\s*(\d{1,5})(?:\s*[:,]\s*|\s+)(\S.*?)\s*", line) for line in lines]
    if all(numbered):
        by_id: dict[int, str] = {}
        for match in numbered:
            if match is None:  # all() has seen to it
                continue
            if int(match[1]) in by_id:
                raise InputError(f"the labels file {name} gives id {int(match[1])} twice")
            by_id[int(match[1])] = match[2]
        return tuple(by_id.get(i, "???") for i in range(max(by_id) + 1))
    return tuple(line.strip() for line in lines)


def _load_folder(path: Path) -> ModelBundle:
    manifest = _read_manifest(path / MANIFEST_FILE)
    for file in (MODEL_FILE, LABELS_FILE):
        if file not in manifest.files:
            raise InputError(f"the bundle {path} is not complete: its manifest gives no SHA-256 for {file}")
    contents: dict[str, bytes] = {}
    for file, expected in manifest.files.items():
        if not _FILE_NAME.fullmatch(file):
            raise InputError(f"the bundle {path} names the file {file!r}: only files in the bundle itself are allowed")
        content = _read_bytes(path / file, what="bundle file")
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected:
            raise InputError(
                f"{path / file} does not match its manifest (SHA-256 {actual[:12]}… instead of {expected[:12]}…): "
                "install the bundle again"
            )
        contents[file] = content
    labels = read_labels(_decode(contents[LABELS_FILE], path / LABELS_FILE), name=str(path / LABELS_FILE))
    if labels != tuple(manifest.labels):
        raise InputError(
            f"{path / LABELS_FILE} and the labels in {path / MANIFEST_FILE} differ: install the bundle again"
        )
    return ModelBundle(
        path=path,
        name=manifest.name,
        sha256=manifest.files[MODEL_FILE],
        model=contents[MODEL_FILE],
        labels=labels,
        input=manifest.input,
        threshold=manifest.threshold.value,
        manifest=manifest,
    )


def _load_bare(path: Path, labels: Path | None) -> ModelBundle:
    model = _read_bytes(path, what="model")
    if labels is not None:
        names = read_labels(_decode(_read_bytes(labels, what="labels file"), labels), name=str(labels))
    else:
        packed = _packed_labels(model, path)
        if packed is None:
            raise InputError(f"the model {path} has no labels packed in: give them with --labels FILE")
        names = packed
    return ModelBundle(
        path=path,
        name=re.sub(r"[^A-Za-z0-9._-]", "-", path.stem) or "model",
        sha256=hashlib.sha256(model).hexdigest(),
        model=model,
        labels=names,
        input=None,
        threshold=_DEFAULT_THRESHOLD,
        manifest=None,
    )


def _read_manifest(path: Path) -> Manifest:
    content = _read_bytes(path, what="bundle's manifest").removeprefix(BOM_UTF8)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {f'{where}: ' if where else ''}{first['msg']}") from error


def _packed_labels(model: bytes, path: Path) -> tuple[str, ...] | None:
    """Read the labels that TFLite metadata packs behind the model as a ZIP archive, if there are any."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt")]
            # The metadata say which of several files has the labels.
            stated = label_file_name(model)
            if stated is not None and stated in archive.namelist():
                names = [stated]
            if len(names) != 1:
                return None
            # Not `read`: what is packed in a few kilobytes may fill any memory.
            with archive.open(names[0]) as packed:
                content = packed.read(_MOST_PACKED + 1)
    except Exception:  # noqa: BLE001 - on damaged archives, zipfile raises whatever its many decoders do
        # No archive, or one that cannot be unpacked: there are no labels to be had.
        return None
    if len(content) > _MOST_PACKED:
        raise InputError(
            f"the model {path} has over {_MOST_PACKED} bytes of labels packed in: give others with --labels"
        )
    return read_labels(_decode(content, path), name=f"{path}!{names[0]}")


def _read_bytes(path: Path, *, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the {what} {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"the {what} {path} cannot be read: {error}") from error


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from error
