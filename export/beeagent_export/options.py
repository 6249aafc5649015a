"""The options of `beeagent export`."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from beeagent.detection import Fit
from beeagent.errors import InputError
from beeagent_models.datasets import Dataset
from beeagent_models.evaluation import ThresholdChoice

from beeagent_export.conversion import Precision
from beeagent_export.postprocess import PostProcessOptions

# Names and versions also appear in file names and messages, so their characters are limited.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VERSION = r"[A-Za-z0-9._+-]{1,64}"

_Choice = TypeVar("_Choice", Fit, Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Settings of an export.

    Attributes:
        source: path of the trained detector.
        out: bundle folder of the first precision; further bundles are written beside it, as `OUT-float16`.
        report: path of the JSON report; the HTML report has the same name with the suffix `.html`.
        name: name of the model; further precisions are appended to it, as in `bees-float16`.
        version: version of the model.
        licence: SPDX expression for the weights.
        precisions: precisions to export, one bundle each; at least one, without duplicates.
        calibrate: calibration images: a manifest, a folder or a loaded dataset; needed for int8.
        calibration_images: maximum number of calibration images.
        labels: file with the class names, for sources without.
        validate: labelled datasets, `PATH`, `PATH=label,label` or loaded, evaluated as one; empty for no evaluation.
        calibrate_confidence: labelled datasets, `PATH` or `PATH=label,label`, of images that were not trained on, for
            the calibration of confidence to precision; empty for none.
        attribute: label attribute to read from manifests that have several.
        max_drop: maximum loss of AP against the float source, in points of 100.
        choice: rule for the threshold on the validation curve; a fixed threshold needs no validation.
        input_size: input width and height in pixels; None for those of the source.
        fit: method of fitting a frame into the input; None for that of the source.
        postprocess: options of the post-processing op.
        float16_checkpoint: file for the checkpoint with its kernels as float16; None for none.
        force: replace existing bundles.

    Raises:
        InputError: options do not fit together.
    """

    source: Path
    out: Path
    report: Path
    name: str
    version: str
    licence: str
    precisions: tuple[Precision, ...]
    calibrate: Path | Dataset | None
    calibration_images: int = 200
    labels: Path | None = None
    validate: tuple[str | Dataset, ...] = ()
    calibrate_confidence: tuple[str, ...] = ()
    attribute: str | None = None
    max_drop: float = 0.5
    choice: ThresholdChoice = field(default_factory=ThresholdChoice)
    input_size: tuple[int, int] | None = None
    fit: Fit | None = None
    postprocess: PostProcessOptions = field(default_factory=PostProcessOptions)
    float16_checkpoint: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.float16_checkpoint is not None and self.source.is_dir():
            raise InputError(
                f"--float16-checkpoint makes a smaller checkpoint, but {self.source} is a folder: leave it out"
            )
        if len(set(self.precisions)) != len(self.precisions):
            names = ", ".join(precision.value for precision in self.precisions)
            raise InputError(f"--precision has duplicates ({names}): give each once")
        if Precision.INT8 in self.precisions and self.calibrate is None:
            raise InputError(
                "int8 needs --calibrate IMAGES: a manifest or folder with some hundred images of the kind that "
                "the camera takes"
            )
        for option, value, pattern in (
            *(("name", self.model_name(precision), _NAME) for precision in self.precisions),
            ("model-version", self.version, _VERSION),
        ):
            if re.fullmatch(pattern, value) is None:
                raise InputError(
                    f"--{option} is {value!r}: allowed are letters, digits, dots, underscores and hyphens, 64 at most"
                )
        if not self.validate and (self.choice.precision_floor is not None or self.choice.recall_floor is not None):
            raise InputError("a precision or recall floor needs labelled images: give --validate DATA")
        self._check_confidence()
        if not math.isfinite(self.max_drop) or self.max_drop < 0:
            raise InputError(f"--max-drop is {self.max_drop}: give points of AP, 0 or more")
        for path in (self.report, self.html_report):
            if path.is_dir():
                raise InputError(f"the report {path} is a folder: give a file name with --report")

    def _check_confidence(self) -> None:
        if not self.calibrate_confidence:
            return
        if self.source.is_dir():
            raise InputError(
                f"--calibrate-confidence changes the class head of a checkpoint, but {self.source} is a folder: "
                "leave it out"
            )
        if not self.validate and self.choice.fixed is None:
            raise InputError(
                "--calibrate-confidence changes the confidence values, so the threshold has to be chosen again: "
                "give --validate DATA, or --threshold"
            )

    def bundle_folder(self, precision: Precision) -> Path:
        """Return the bundle folder of a precision."""
        return self.out.with_name(self._suffixed(self.out.name, precision))

    def model_name(self, precision: Precision) -> str:
        """Return the model name of a precision."""
        return self._suffixed(self.name, precision)

    @property
    def html_report(self) -> Path:
        """Path of the HTML report."""
        return self.report.with_suffix(".html")

    def _suffixed(self, name: str, precision: Precision) -> str:
        return name if precision is self.precisions[0] else f"{name}-{precision.value}"


def parse_choice(kind: type[_Choice], value: str, option: str) -> _Choice:
    """Parse the value of an option that takes a member of an enumeration.

    Args:
        kind: the enumeration.
        value: value on the command line.
        option: name of the option, for errors.

    Raises:
        InputError: the enumeration has no such value.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{option} is {value!r}: choose one of {', '.join(kind)}") from None
