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

# What a manifest takes, and stays readable in file names and messages.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VERSION = r"[A-Za-z0-9._+-]{1,64}"

_Choice = TypeVar("_Choice", Fit, Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export and how.

    Attributes:
        source: the trained detector.
        out: folder of the bundle of the first precision; the others are written beside it, as `OUT-float16`.
        report: where the report for programs goes; the one for people has `.html` for its suffix.
        name: of the model; those of the further precisions have it in theirs, as in `bees-float16`.
        version: of the model.
        licence: SPDX expression for the weights.
        precisions: what the models compute in, a bundle each; at least one, each once.
        calibrate: the user's own images: a manifest, a folder or a dataset that was read; needed for int8.
        calibration_images: how many of them to calibrate on, at most.
        labels: names of the classes, where the source does not know them.
        validate: labelled datasets, as `PATH` or `PATH=label,label` or read already, measured as one; empty to measure
            no AP.
        calibrate_confidence: labelled datasets likewise, of images that were not trained on, on which confidence is
            made to mean precision; empty to leave it as the network has it.
        attribute: the label attribute, of manifests that have several.
        max_drop: how many points (of 100) of AP a variant may lose against the float source.
        choice: of the threshold on the validation curve; a fixed one needs no validation.
        input_size: width and height of the input in pixels; None for the source's own.
        fit: how a frame is fitted into the input; None as in the source.
        postprocess: options of the op in the graph.
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
            raise InputError(f"--precision is given twice as {names}: give each once")
        if Precision.INT8 in self.precisions and self.calibrate is None:
            raise InputError(
                "int8 needs --calibrate IMAGES: a manifest or folder of some hundred images like those that "
                "the camera will give"
            )
        for option, value, pattern in (
            *(("name", self.name_of(precision), _NAME) for precision in self.precisions),
            ("model-version", self.version, _VERSION),
        ):
            if re.fullmatch(pattern, value) is None:
                raise InputError(
                    f"--{option} is {value!r}: allowed are letters, digits, dots, underscores and hyphens, 64 at most"
                )
        if not self.validate and (self.choice.precision_floor is not None or self.choice.recall_floor is not None):
            raise InputError("a floor of precision or recall needs labelled images to choose on: give --validate DATA")
        self._check_confidence()
        if not math.isfinite(self.max_drop) or self.max_drop < 0:
            raise InputError(f"--max-drop is {self.max_drop}: give points of AP, 0 or more")
        for path in (self.report, self.page):
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
                "--calibrate-confidence changes the meaning of confidence, so the threshold has to be chosen again: "
                "give --validate DATA, or --threshold"
            )

    def out_of(self, precision: Precision) -> Path:
        """Return the folder of a precision's bundle."""
        return self.out.with_name(self._beside(self.out.name, precision))

    def name_of(self, precision: Precision) -> str:
        """Return the name of a precision's model."""
        return self._beside(self.name, precision)

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.report.with_suffix(".html")

    def _beside(self, name: str, precision: Precision) -> str:
        return name if precision is self.precisions[0] else f"{name}-{precision.value}"


def parse_choice(kind: type[_Choice], value: str, option: str) -> _Choice:
    """Return the choice of this value.

    Args:
        kind: the choices.
        value: of one of them, as given on the command line.
        option: the name of the option, for errors.

    Raises:
        InputError: there is no such choice.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{option} is {value!r}: choose one of {', '.join(kind)}") from None
