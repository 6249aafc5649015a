"""Adapts a detector to the user's camera: trains from a checkpoint, exports, and compares the result with the base."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.detection import DEFAULT_MODEL, default_model
from beeagent.errors import InputError
from beeagent_models.augmentation.composer import Sizes
from beeagent_models.augmentation.mixture import TrainingSet, read_training_sets
from beeagent_models.datasets import Dataset, hold_back, merge_datasets, parse_source, read_dataset
from beeagent_models.efficientdet import EfficientDetConfig, read_config
from beeagent_models.efficientdet.input_size import check_alignment
from beeagent_models.evaluation import Evaluation, ThresholdChoice, sizes_at_input
from beeagent_models.training.data import with_labels
from beeagent_models.training.options import TrainingOptions
from beeagent_models.training.run import TrainingProgress, train

from beeagent_export.bundle import refuse_existing, refuse_unwritable, write_bundle
from beeagent_export.conversion import Precision
from beeagent_export.exporter import export_bundle
from beeagent_export.images import spread
from beeagent_export.options import ExportOptions
from beeagent_export.terminal import Progress
from beeagent_export.variant import Variant

RELEASED_CHECKPOINT = "checkpoint.float16.npz"
"""File in the folder of the default model in the repository; not part of the installed package."""

FEW_BOXES = 50
"""Number of held-back boxes below which a precision cannot be measured, and a difference may be chance."""

_PRECISION_FLOOR = 0.9
# Side of the training images as a share of the input's. A step costs the square of it; objects keep their size.
_IMAGE_SHARE = 0.8
_IMAGE_MULTIPLE = 32
# A fifth of the rate for training from scratch: with few images, a higher one makes the network forget the base's data.
_PEAK_LEARNING_RATE = 0.006
_VALIDATED_IMAGES = 64
# Quantiles of the object sizes; half of the training images have sizes between them.
_COMMON_SIZES = 0.1, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationOptions:
    """Settings of an adaptation.

    Attributes:
        data: the user's datasets, `PATH` or `PATH=label,label`.
        out: folder of the first bundle; bundles of other input sizes are written beside it, as `OUT-640x384`.
        run: folder of the training run and of the compared bundles; an existing run is resumed. None for `OUT.run`.
        base: initial checkpoint; None for that of the released model.
        attribute: label attribute to read from manifests that have several.
        also: further training datasets, `PATH[=LABELS][@WEIGHT]`.
        held_back: share of the user's images that are held back for the evaluation, 0 to 1.
        series: regular expression for the series in an image's name; see `hold_back`.
        input_sizes: width and height of further model inputs to export, besides the base's own.
        precision_floor: minimum precision of the chosen threshold, which is the one with the best recall, 0 to 1. None
            for 0.9, or for the best F1 if fewer than `FEW_BOXES` boxes are held back.
        minutes: maximum training time.
        steps: number of training steps, instead of minutes.
        seed: random seed of the split and of the training.
        workers: number of loader processes.
        force: replace existing bundles.
        command: command line, for the training record.
    """

    data: tuple[str, ...]
    out: Path
    run: Path | None = None
    base: Path | None = None
    attribute: str | None = None
    also: tuple[str, ...] = ()
    held_back: float = 0.25
    series: str | None = None
    input_sizes: tuple[tuple[int, int], ...] = ()
    precision_floor: float | None = None
    minutes: float = 30.0
    steps: int | None = None
    seed: int = 0
    workers: int = 1
    force: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The base and the adapted model at one input size, both int8, on the held-back images.

    Attributes:
        input_size: width and height.
        out: folder of the adapted model's bundle.
        base: evaluation of the base, at a threshold chosen by the same rule.
        adapted: evaluation of the adapted model.
        variant: the adapted model.
    """

    input_size: tuple[int, int]
    out: Path
    base: Evaluation
    adapted: Evaluation
    variant: Variant

    @property
    def objection(self) -> str | None:
        """Reason not to release the adapted model; None if its AP50 is above the base's and its F1 not below."""
        ap50, base_ap50 = self.adapted.metrics.ap50, self.base.metrics.ap50
        if not ap50 > base_ap50:
            return f"its AP50 is {ap50:.3f}, the base has {base_ap50:.3f}"
        f1, base_f1 = self.adapted.point.f1, self.base.point.f1
        if f1 < base_f1:
            return f"its F1 at the threshold is {f1:.3f}, the base has {base_f1:.3f}"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "input": list(self.input_size),
            "base": _figures(self.base),
            "adapted": _figures(self.adapted),
            "objection": self.objection,
            "released": None if self.objection else self.out.name,
        }


class Adaptation:
    """Adapts a detector, in three steps: `train`, `compare`, `release`.

    Args:
        options: settings of the adaptation.

    Raises:
        InputError: an option, the base, the images or a path to write to cannot be used.
    """

    def __init__(self, options: AdaptationOptions) -> None:
        refuse_existing(options.out, force=options.force)
        for size in options.input_sizes:
            check_alignment(size)
        self.run = options.run or options.out.with_name(f"{options.out.name}.run")
        """Folder of the training run."""
        refuse_unwritable(self.run, what="run")
        self._options = options
        sources = map(parse_source, options.data)
        own = [read_dataset(path, labels=labels, label_attribute=options.attribute) for path, labels in sources]
        fraction, pattern = options.held_back, options.series
        self.split = hold_back(merge_datasets(own), fraction=fraction, seed=options.seed, pattern=pattern)
        """The user's images, split into training and held-back images."""
        self.held_back_boxes = sum(len(image.boxes) for image in self.split.held_back.images)
        """Number of boxes in the held-back images."""
        # With few boxes, one false alarm decides whether the floor is kept; the best F1 depends less on chance.
        default = None if self.held_back_boxes < FEW_BOXES else _PRECISION_FLOOR
        self.choice = ThresholdChoice(
            precision_floor=default if options.precision_floor is None else options.precision_floor
        )
        """Rule for the threshold."""
        self.base = options.base or released_checkpoint()
        """Initial checkpoint."""
        self._also = tuple(part for text in options.also for part in read_training_sets(text))
        for part, name in ((self.split.train, "training"), (self.split.held_back, "held-back")):
            if not any(len(image.boxes) for image in part.images):
                raise InputError(
                    f"{part.name}: none of the {len(part.images)} {name} images has a box: give more labelled "
                    "images, or another --seed"
                )
        self._config: EfficientDetConfig = read_config(self.base)
        for dataset in (self.split.train, *(part.dataset for part in self._also)):
            with_labels(dataset, self._config.labels)
        own_size = (self._config.input_size, self._config.input_size)
        self._sizes = tuple(dict.fromkeys((own_size, *options.input_sizes)))
        for size in self._sizes:
            refuse_existing(self._bundle_folder(size), force=options.force)
            self._export_options(self.base, size, "base")  # validates before the training, not after

    def train(self, report: Callable[[TrainingProgress], None]) -> Path:
        """Train from the base, or resume the run, and return the path of the checkpoint.

        Raises:
            InputError: data cannot be used, or the folder contains another run.
            BeeagentError: the loss is not finite, or a loader process failed.
        """
        options, config = self._options, self._config
        side = max(64, round(_IMAGE_SHARE * config.input_size / _IMAGE_MULTIPLE) * _IMAGE_MULTIPLE)
        held_back = self.split.held_back
        validation = replace(held_back, name="held_back", images=spread(held_back.images, _VALIDATED_IMAGES))
        length: dict[str, Any] = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
        return train(
            TrainingOptions(
                sets=(TrainingSet(dataset=self.split.train), *self._also),
                validation=(validation,),
                labels=config.labels,
                out=self.run,
                model=config.name,
                input_size=(config.input_size, config.input_size),
                image_size=(side, side),
                anchor_scale=config.anchor_scale,
                warm_start=self.base,
                **length,
                seed=options.seed,
                peak_learning_rate=_PEAK_LEARNING_RATE,
                frozen_stages=3,
                warmup_steps=50,
                synthetic=0.1,
                pasted=0.15,
                scenes=80,
                backgrounds=40,
                sizes=_common_sizes(self.split.train, self._sizes),
                validate_every=300,
                save_every=50,
                workers=options.workers,
                command=options.command,
            ),
            report,
        )

    def compare(self, checkpoint: Path, progress: Progress) -> list[Comparison]:
        """Export base and adapted model as int8 and evaluate both with the device's detector on the held-back images.

        Args:
            checkpoint: checkpoint of the adapted model.
            progress: progress display.

        Raises:
            InputError: an input size or an image cannot be used.
            BeeagentError: the conversion failed.
        """
        comparisons = []
        for size in self._sizes:
            base, _ = self._export(self.base, size, "base", progress)
            adapted, variant = self._export(checkpoint, size, "adapted", progress)
            comparisons.append(Comparison(size, self._bundle_folder(size), base, adapted, variant))
        return comparisons

    def release(self, comparisons: Sequence[Comparison]) -> list[Path]:
        """Write the bundles of the models that are better, and return their folders.

        Raises:
            InputError: a bundle cannot be written.
        """
        better = [comparison for comparison in comparisons if comparison.objection is None]
        for one in better:
            write_bundle(one.out, one.variant.manifest, one.variant.files, force=self._options.force)
        return [comparison.out for comparison in better]

    def _export(self, source: Path, size: tuple[int, int], kind: str, progress: Progress) -> tuple[Evaluation, Variant]:
        result = export_bundle(self._export_options(source, size, kind), progress=progress)
        (variant,) = result.variants
        if variant.measured.evaluation is None:
            raise RuntimeError("the exported model was not evaluated")
        return variant.measured.evaluation, variant

    def _export_options(self, source: Path, size: tuple[int, int], kind: str) -> ExportOptions:
        folder = self.run / "compared" / f"{kind}-{size[0]}x{size[1]}"
        return ExportOptions(
            source=source,
            out=folder,
            report=folder.with_name(f"{folder.name}.report.json"),
            name=self._bundle_folder(size).name,
            version="0.1.0",
            licence="NOASSERTION",
            precisions=(Precision.INT8,),
            calibrate=self.split.train,
            validate=(self.split.held_back,),
            # The comparison is between int8 models, so it includes the loss by quantization.
            max_drop=100.0,
            choice=self.choice,
            input_size=size,
            force=True,
        )

    def _bundle_folder(self, size: tuple[int, int]) -> Path:
        out = self._options.out
        return out if size == self._sizes[0] else out.with_name(f"{out.name}-{size[0]}x{size[1]}")


def released_checkpoint() -> Path:
    """Return the checkpoint of the released model.

    Raises:
        InputError: the installed package does not contain it.
    """
    path = default_model() / RELEASED_CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"the checkpoint of {DEFAULT_MODEL} is not part of the installed package: download "
            f"models/{DEFAULT_MODEL}/{RELEASED_CHECKPOINT} from beeagent's repository, and give it with --base"
        )
    return path


def _common_sizes(dataset: Dataset, inputs: Sequence[tuple[int, int]]) -> Sizes:
    """Return the range of object sizes at the given model inputs, between the common quantiles."""
    sizes = np.concatenate(
        [sizes_at_input(image.boxes, image, size) for image in dataset.images if len(image.boxes) for size in inputs]
    )
    low, high = (float(value) for value in np.quantile(sizes, _COMMON_SIZES))
    default = Sizes()
    low = min(max(low, default.smallest), default.largest)
    return replace(default, common_low=low, common_high=min(max(high, low), default.largest))


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    names = (
        "ap50", "precision", "recall", "f1", "threshold", "threshold_chosen_by", "floors_kept", "false_positives",
        "false_alarms_per_image_without_boxes",
    )  # fmt: skip
    figures = evaluation.to_json()
    return {name: figures[name] for name in names}
