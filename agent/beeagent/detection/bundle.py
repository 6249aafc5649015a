"""The model bundle: a folder with a model, its labels and a manifest with the hashes of both."""

import hashlib
import io
import re
import zipfile
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from beeagent.detection.model_file import label_file_name
from beeagent.detection.transforms import Fit
from beeagent.errors import BeeagentError, InputError

DEFAULT_MODEL = "bees-lite0"

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "manifest.json"

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_BUNDLED = (DEFAULT_MODEL, "bees-lite0-wide")
_DEFAULT_THRESHOLD = 0.5
_MIDDLE_PIXEL_VALUE = 127.5
_MAX_PACKED_LABELS = 1_000_000  # bytes; the largest label sets have a tenth of it
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputSpec(_Strict):
    """The model's image input.

    Attributes:
        width: width in pixels.
        height: height in pixels.
        fit: method of resizing a frame to this size.
        mean: value subtracted from the pixel values, 0 to 255, for a float32 or int8 input; a uint8 input takes them
            unchanged.
        std: divisor of the difference.
    """

    width: int = Field(ge=1, le=8192)
    height: int = Field(ge=1, le=8192)
    fit: Fit
    mean: float = _MIDDLE_PIXEL_VALUE
    std: float = Field(default=_MIDDLE_PIXEL_VALUE, gt=0)


class Threshold(_Strict):
    """The minimum confidence of a detection, and the method by which it was chosen."""

    value: Ratio
    chosen_by: str


class Reliability(_Strict):
    """Number of correct detections at each confidence, at IoU 0.5.

    Of n bins of equal width from 0 to 1, bin i counts the confidences from i/n up to (i + 1)/n.

    Attributes:
        detections: number of detections in each bin.
        right: number of those that matched a labelled box.
    """

    detections: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=1000)]
    right: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _check_counts(self) -> "Reliability":
        if len(self.right) != len(self.detections) or any(
            right > number for right, number in zip(self.right, self.detections, strict=False)
        ):
            raise ValueError("right must have a number for each bin, at most that of its detections")
        return self


class Metrics(_Strict):
    """Metrics of the model on one dataset; precision and recall at IoU 0.5 and the threshold.

    Attributes:
        dataset: name of the dataset.
        split: split of the dataset, such as `validation`.
        ap: average precision, mean over IoU 0.50 to 0.95; this and the next three are None for a dataset without any
            box.
        ap50: average precision at IoU 0.5.
        precision: ratio of correct detections to all detections.
        recall: ratio of detected objects to all objects.
        false_alarms_per_image: detections per image without any box; None if every image has one.
        threshold: the minimum confidence of a detection.
        reliability: number of correct detections at each confidence, from which the uncertainty range is derived.
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
    """The content of a bundle's `manifest.json`.

    Attributes:
        schema_: format of this file, always `beeagent.bundle/1`; `schema` in JSON.
        name: name of the model, such as `bees-lite0`.
        version: version of the model.
        licence: SPDX expression for the weights.
        files: SHA-256 of the bundle's other files, by name.
        input: the model's image input.
        labels: the classes, in the order of their ids.
        threshold: the default threshold.
        tiles: the recommended tiles, in the syntax of `--tiles`.
        metrics: metrics of the model, one entry for each dataset.
        provenance: origin of the model: command, commit, data, seed.
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
    """A model with its labels and input specification, verified and in memory.

    Attributes:
        path: path of the folder or file, for messages.
        name: name of the model.
        sha256: SHA-256 of the .tflite, in hexadecimal.
        model: content of the .tflite.
        labels: the classes in the order of their ids.
        input: specification of the image input; None for a bare model, whose frames are prepared by the shape and type
            of its input tensor.
        threshold: the minimum confidence of a detection, 0 to 1.
        manifest: manifest of the bundle; None for a bare model.
    """

    path: Path
    name: str
    sha256: str
    model: bytes
    labels: tuple[str, ...]
    input: InputSpec | None
    threshold: float
    manifest: Manifest | None

    @classmethod
    def load(cls, model: str | Path | None = None, *, labels: str | Path | None = None) -> "ModelBundle":
        """Load a bundle folder, a bundled model by its name, or a bare `.tflite` with its labels.

        A bare model needs no labels file if its labels are packed in (TFLite metadata).

        Args:
            model: a bundle folder or a .tflite file; if there is no such path, the name of a bundled model; None for
                the default model.
            labels: a text file with one label per line, for a bare model.

        Raises:
            InputError: something is missing, unreadable, or does not match the manifest.
            BeeagentError: the installation lacks the default model.
        """
        try:
            path = default_model() if model is None else resolve_model(Path(model))
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise InputError(f"the model {model} cannot be read: {error.strerror or error}") from error
        if not exists:
            raise InputError(
                f"the model {path} cannot be read: No such file or directory; "
                f"the bundled models are {', '.join(bundled_models())}"
            )
        if not is_folder:
            return _load_bare(path, None if labels is None else Path(labels))
        if labels is not None:
            raise InputError(f"labels {labels} cannot be combined with the bundle {path}, which has its own")
        return _load_folder(path)

    @property
    def identity(self) -> str:
        """Name and short hash of the model, such as `bees-lite0@3f9c21d0`."""
        return f"{self.name}@{self.sha256[:8]}"


def bundled_models() -> dict[str, Path]:
    """Return the folder of each bundled model by its name, the default model first.

    They are inside an installed package, or at the top of the repository in a checkout that is installed in place.
    """
    package = Path(__file__).resolve().parent.parent
    folders = (package / "bundles", package.parent.parent / "models")
    return {
        name: folder / name
        for name in _BUNDLED
        for folder in reversed(folders)
        if (folder / name / MANIFEST_FILE).is_file()
    }


def default_model() -> Path:
    """Return the folder of the default model.

    Raises:
        BeeagentError: the installation lacks it.
    """
    try:
        return bundled_models()[DEFAULT_MODEL]
    except KeyError:
        raise BeeagentError(
            f"the bundled model {DEFAULT_MODEL} is missing: install beeagent again, or set --model"
        ) from None


def resolve_model(path: Path) -> Path:
    """Return the folder of a bundled model if the path is its name and no such path exists, else the path itself.

    Raises:
        OSError: it cannot be determined whether the path exists.
    """
    return path if path.exists() else bundled_models().get(str(path), path)


def read_labels(text: str, *, name: str) -> tuple[str, ...]:
    """Parse a labels file: one label per line, or `id label` on every line.

    Missing ids get the label `???`, as in COCO label files.

    Args:
        text: content of the file.
        name: name of the file, for errors.

    Raises:
        InputError: there is no label, a line is empty or not text, or an id occurs twice.
    """
    lines = text.lstrip("\ufeff").rstrip().splitlines()
    if not lines:
        raise InputError(f"the labels file {name} is empty: it needs one label per line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(f"the labels file {name} has no label in line {number}")
        if _CONTROL_CHARACTER.search(line):
            raise InputError(f"the labels file {name} has a control character in line {number}: it is not a text file")
    numbered = [re.fullmatch(r"\s*(\d{1,5})(?:\s*[:,]\s*|\s+)(\S.*?)\s*", line) for line in lines]
    if all(numbered):
        by_id: dict[int, str] = {}
        for match in numbered:
            if match is None:  # impossible after all(), but not for mypy
                continue
            if int(match[1]) in by_id:
                raise InputError(f"the labels file {name} has the id {int(match[1])} twice")
            by_id[int(match[1])] = match[2]
        return tuple(by_id.get(i, "???") for i in range(max(by_id) + 1))
    return tuple(line.strip() for line in lines)


def _load_folder(path: Path) -> ModelBundle:
    manifest = _read_manifest(path / MANIFEST_FILE)
    for file in (MODEL_FILE, LABELS_FILE):
        if file not in manifest.files:
            raise InputError(f"the bundle {path} is not complete: its manifest has no SHA-256 of {file}")
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
            raise InputError(f"the model {path} has no labels packed in: add them with --labels FILE")
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
    """Return the labels from the ZIP archive that TFLite metadata appends to a model; None without any."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt")]
            # If there are several text files, the metadata name the one with the labels.
            labels_name = label_file_name(model)
            if labels_name is not None and labels_name in archive.namelist():
                names = [labels_name]
            if len(names) != 1:
                return None
            # Not `archive.read`: a few kilobytes may decompress to more than fits in memory.
            with archive.open(names[0]) as packed:
                content = packed.read(_MAX_PACKED_LABELS + 1)
    except Exception:  # noqa: BLE001 - on damaged archives, zipfile raises whatever its decoders do
        # No archive, or a damaged one.
        return None
    if len(content) > _MAX_PACKED_LABELS:
        raise InputError(
            f"the model {path} has over {_MAX_PACKED_LABELS} bytes of labels packed in: replace them with --labels"
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
