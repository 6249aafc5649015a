"""Adapts a detector to the user's own camera: trains from a checkpoint, exports, and compares with where it started."""

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
"""In the folder of the default model, in the repository; it is not part of the package that a device installs."""

# Training images are this share of the input a side: faster by its square, with the objects of the size they will have.
_IMAGE_SHARE = 0.8
_IMAGE_MULTIPLE = 32
# A fifth of what trains from nothing: the images are few, and the base knows much that they do not show.
_PEAK_LEARNING_RATE = 0.006
_VALIDATED_IMAGES = 64
# Quantiles of the objects' sizes; sizes between them are drawn in half of the training images.
_COMMON_SIZES = 0.1, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationOptions:
    """What to adapt to what.

    Attributes:
        data: the user's datasets, `PATH` or `PATH=label,label`.
        out: folder of the first bundle; one of another input size is written beside it, as `OUT-640x384`.
        run: folder of the training run and of what is compared; an existing run is resumed. None for `OUT.run`.
        base: the checkpoint to start from; None for that of the released model.
        attribute: the label attribute, of manifests that have several.
        also: further datasets to train on, `PATH[=LABELS][@WEIGHT]`.
        held_back: share of the user's images to measure on, not to train on.
        series: a regular expression that matches an image's series in its name; see `hold_back`.
        input_sizes: width and height of further inputs to export for, beside the base's own.
        precision_floor: the threshold is the one with the best recall at this precision or more, 0 to 1.
        minutes: of training, at most.
        steps: of training, instead of minutes.
        seed: of the images held back and of the training.
        workers: processes that make training images.
        force: replace bundles that are there.
        command: for the record.
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
    precision_floor: float = 0.95
    minutes: float = 30.0
    steps: int | None = None
    seed: int = 0
    workers: int = 1
    force: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The base and the adapted model at one input size, as int8, on the images held back.

    Attributes:
        input_size: width and height.
        out: folder of the adapted model's bundle.
        base: what was measured of the base, at a threshold chosen likewise.
        adapted: what was measured of the adapted model.
        variant: the adapted model.
    """

    input_size: tuple[int, int]
    out: Path
    base: Evaluation
    adapted: Evaluation
    variant: Variant

    @property
    def objection(self) -> str | None:
        """Why the adapted model is not better; None if it is: AP50 above the base's, and F1 not below."""
        ap50, base_ap50 = self.adapted.metrics.ap50, self.base.metrics.ap50
        if not ap50 > base_ap50:
            return f"its AP50 is {ap50:.3f}, that of the base {base_ap50:.3f}"
        f1, base_f1 = self.adapted.point.f1, self.base.point.f1
        if f1 < base_f1:
            return f"its F1 at the threshold is {f1:.3f}, that of the base {base_f1:.3f}"
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
        options: what to adapt and how.

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
        self.division = hold_back(merge_datasets(own), fraction=fraction, seed=options.seed, pattern=pattern)
        """The user's images: to train on, and held back."""
        self.base = options.base or released_checkpoint()
        """The checkpoint to start from."""
        self._also = tuple(part for text in options.also for part in read_training_sets(text))
        for part, name in ((self.division.train, "to train on"), (self.division.held_back, "held back")):
            if not any(len(image.boxes) for image in part.images):
                raise InputError(
                    f"{part.name}: not one of the {len(part.images)} images {name} has a box: give more labelled "
                    "images, or another --seed"
                )
        self._config: EfficientDetConfig = read_config(self.base)
        for dataset in (self.division.train, *(part.dataset for part in self._also)):
            with_labels(dataset, self._config.labels)
        own_size = (self._config.input_size, self._config.input_size)
        self._sizes = tuple(dict.fromkeys((own_size, *options.input_sizes)))
        for size in self._sizes:
            refuse_existing(self._out_of(size), force=options.force)
            self._export_options(self.base, size, "base")  # refuses now what it would refuse after the training

    def train(self, report: Callable[[TrainingProgress], None]) -> Path:
        """Train from the base, or resume the run, and return the path of the checkpoint.

        Raises:
            InputError: data cannot be used, or the folder holds another run.
            BeeagentError: the loss is no longer a number, or a process failed.
        """
        options, config = self._options, self._config
        side = max(64, round(_IMAGE_SHARE * config.input_size / _IMAGE_MULTIPLE) * _IMAGE_MULTIPLE)
        held_back = self.division.held_back
        shown = replace(held_back, name="held_back", images=spread(held_back.images, _VALIDATED_IMAGES))
        length: dict[str, Any] = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
        return train(
            TrainingOptions(
                sets=(TrainingSet(dataset=self.division.train), *self._also),
                validation=(shown,),
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
                sizes=_common_sizes(self.division.train, self._sizes),
                validate_every=300,
                save_every=50,
                workers=options.workers,
                command=options.command,
            ),
            report,
        )

    def compare(self, checkpoint: Path, progress: Progress) -> list[Comparison]:
        """Export base and adapted model as int8 and measure both, as the device runs them, on the images held back.

        Args:
            checkpoint: of the adapted model.
            progress: receives the stages and counts.

        Raises:
            InputError: an input size or an image cannot be used.
            BeeagentError: the conversion failed.
        """
        comparisons = []
        for size in self._sizes:
            base, _ = self._exported(self.base, size, "base", progress)
            adapted, variant = self._exported(checkpoint, size, "adapted", progress)
            comparisons.append(Comparison(size, self._out_of(size), base, adapted, variant))
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

    def _exported(
        self, source: Path, size: tuple[int, int], kind: str, progress: Progress
    ) -> tuple[Evaluation, Variant]:
        result = export_bundle(self._export_options(source, size, kind), progress=progress)
        (variant,) = result.variants
        if variant.measured.evaluation is None:
            raise RuntimeError("labelled images were given, but not measured")
        return variant.measured.evaluation, variant

    def _export_options(self, source: Path, size: tuple[int, int], kind: str) -> ExportOptions:
        options = self._options
        folder = self.run / "compared" / f"{kind}-{size[0]}x{size[1]}"
        return ExportOptions(
            source=source,
            out=folder,
            report=folder.with_name(f"{folder.name}.report.json"),
            name=self._out_of(size).name,
            version="0.1.0",
            licence="NOASSERTION",
            precisions=(Precision.INT8,),
            calibrate=self.division.train,
            validate=(self.division.held_back,),
            # What int8 loses shows in the comparison, which is of int8 models.
            max_drop=100.0,
            choice=ThresholdChoice(precision_floor=options.precision_floor),
            input_size=size,
            force=True,
        )

    def _out_of(self, size: tuple[int, int]) -> Path:
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
            f"the checkpoint of {DEFAULT_MODEL} is not part of the installed package: take "
            f"models/{DEFAULT_MODEL}/{RELEASED_CHECKPOINT} from beeagent's repository, and give it with --base"
        )
    return path


def _common_sizes(dataset: Dataset, inputs: Sequence[tuple[int, int]]) -> Sizes:
    """Return sizes that are common where the dataset's objects have them at one of the inputs."""
    found = np.concatenate(
        [sizes_at_input(image.boxes, image, size) for image in dataset.images if len(image.boxes) for size in inputs]
    )
    low, high = (float(value) for value in np.quantile(found, _COMMON_SIZES))
    wide = Sizes()
    low = min(max(low, wide.smallest), wide.largest)
    return replace(wide, common_low=low, common_high=min(max(high, low), wide.largest))


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    names = (
        "ap50", "precision", "recall", "f1", "threshold", "threshold_chosen_by", "floors_kept", "false_positives",
        "false_alarms_per_image_without_boxes",
    )  # fmt: skip
    figures = evaluation.to_json()
    return {name: figures[name] for name in names}
