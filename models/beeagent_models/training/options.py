"""Options of a training run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beeagent.errors import InputError

from beeagent_models.augmentation.composer import Mix, Sizes
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.efficientdet.input_size import MAX_SIDE, MIN_SIDE, check_alignment

_MAX_COUNT = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """All options of a training run; equal options result in equal runs.

    Attributes:
        sets: training datasets.
        validation: held-out datasets, evaluated separately.
        labels: class names of the detector; the labels of each dataset must be among them.
        out: folder of the run, for image pool, state, checkpoint and record. An existing run is resumed.
        model: `lite0` to `lite4`.
        input_size: input width and height of the finished detector in pixels; None for the model's published square.
        image_size: width and height of the training images; None for the input size. Objects keep their size, so a
            smaller image has fewer objects and is processed faster.
        anchor_scale: side of the finest anchors in strides; the published 3.0 suits larger objects than bees.
        backbone_weights: ImageNet weights with folded batch normalisation (`.npz`).
        warm_start: initial checkpoint of the same architecture, instead of `backbone_weights`.
        batch_size: number of images per step.
        steps: number of steps.
        minutes: training time instead of `steps`; the number of steps follows from the speed of the first ones.
        seed: random seed of initial weights, images and their order.
        peak_learning_rate: peak learning rate of Muon, which trains the matrices of pyramid and heads; AdamW trains
            everything else at a tenth of it.
        backbone_factor: factor on the learning rate of the backbone. Its kernels are small and have no batch
            normalisation, so large steps would destroy the ImageNet features.
        frozen_stages: number of backbone stages that are not trained, 0 to 7; from 1 on, the stem is frozen too.
        warmup_steps: number of steps over which the learning rate rises from 0.
        weight_decay: weight decay of kernels.
        gradient_norm: maximum global norm of the gradients; larger ones are clipped.
        box_weight: weight of the box loss relative to the class loss.
        synthetic: share of images that are synthetic scenes.
        pasted: share of images that are cut-outs pasted onto other backgrounds.
        augmentation: `full`, or `none` for whole, unchanged images, as in overfitting tests.
        synthetic_label: class of the bees in synthetic scenes; without this label, scenes are not used.
        scenes: number of synthetic scenes in the pool.
        backgrounds: number of empty synthetic backgrounds in the pool.
        sizes: object sizes in composed images.
        validate_every: number of steps between validations on training samples and validation datasets; 0 for never.
        save_every: number of steps between saves of the state.
        workers: number of loader processes. The result does not depend on it.
        devices: number of devices that share each batch, on JAX; None for 1, or for all in several processes.
        precision: compute precision of the layers: `float32`, `bfloat16`, or `auto` for bfloat16 on a GPU.
        command: command line, for the record.
        revision: commit of the code, for the record.
    """

    sets: tuple[TrainingSet, ...]
    labels: tuple[str, ...]
    out: Path
    validation: tuple[Dataset, ...] = ()
    model: str = "lite0"
    input_size: tuple[int, int] | None = None
    image_size: tuple[int, int] | None = None
    anchor_scale: float = 1.5
    backbone_weights: Path | None = None
    warm_start: Path | None = None
    batch_size: int = 8
    steps: int = 62_500
    minutes: float | None = None
    seed: int = 0
    peak_learning_rate: float = 0.03
    backbone_factor: float = 0.05
    frozen_stages: int = 0
    warmup_steps: int = 200
    weight_decay: float = 0.02
    gradient_norm: float = 8.0
    box_weight: float = 1.5
    synthetic: float = 0.15
    pasted: float = 0.3
    augmentation: str = "full"
    synthetic_label: str = "bee"
    scenes: int = 600
    backgrounds: int = 300
    sizes: Sizes = dataclasses.field(default_factory=Sizes)
    validate_every: int = 1000
    save_every: int = 200
    workers: int = 1
    devices: int | None = None
    precision: str = "auto"
    command: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        if not self.sets and not (self.scenes and self.synthetic and self.synthetic_label in self.labels):
            raise InputError(
                "there is no training data: give a dataset, or synthetic scenes whose label is among the labels"
            )
        if self.backbone_weights and self.warm_start:
            raise InputError("backbone weights and a warm start exclude each other: give one of them")
        _check_validation(self.validation)
        _one_of("precision", self.precision, "auto", "float32", "bfloat16")
        _one_of("augmentation", self.augmentation, "full", "none")
        if self.augmentation == "none" and self.pasted:
            raise InputError("augmentation none does not paste cut-outs: give pasted 0")
        _check_sizes(self.input_size, self.image_size)
        if self.minutes is not None:
            _within("minutes", self.minutes, 0.1, 100_000)
        _within("peak learning rate", self.peak_learning_rate, 1e-7, 1.0)
        _within("backbone factor", self.backbone_factor, 0.0, 10.0)
        _within("frozen stages", self.frozen_stages, 0, 7)
        _within("weight decay", self.weight_decay, 0.0, 1.0)
        _within("synthetic", self.synthetic, 0.0, 1.0)
        _within("pasted", self.pasted, 0.0, 1.0 - self.synthetic)
        _within("workers", self.workers, 1, 64)
        if self.devices is not None:
            _within("devices", self.devices, 1, 4096)
        for name in ("warmup_steps", "scenes", "backgrounds", "validate_every"):
            _within(name.replace("_", " "), getattr(self, name), 0, _MAX_COUNT)
        for name in ("batch_size", "steps", "save_every"):
            _within(name.replace("_", " "), getattr(self, name), 1, _MAX_COUNT)

    @property
    def mix(self) -> Mix:
        """Composition of the training images."""
        return Mix(
            weights=tuple(part.weight for part in self.sets),
            synthetic=self.synthetic,
            pasted=self.pasted,
            sizes=self.sizes,
            augmented=self.augmentation == "full",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the options that determine the result as JSON values."""
        excluded = {"out", "workers", "devices", "save_every", "validate_every", "validation", "command", "revision"}
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in excluded}
        for name in ("backbone_weights", "warm_start"):
            values[name] = values[name] and values[name].name
        if self.augmentation == "full":  # keeps records of earlier runs valid
            del values["augmentation"]
        values["sets"] = [part.to_json() for part in self.sets]
        values["sizes"] = dataclasses.asdict(self.sizes)
        for name in ("labels", "input_size", "image_size"):
            values[name] = values[name] and list(values[name])
        return values


def _check_sizes(input_size: tuple[int, int] | None, image_size: tuple[int, int] | None) -> None:
    for width, height in filter(None, (input_size, image_size)):
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise InputError(f"size {width}x{height}: give {MIN_SIDE} to {MAX_SIDE} pixels per side")
    if input_size and input_size[0] != input_size[1]:
        check_alignment(input_size)  # the export would refuse the size otherwise


def _check_validation(datasets: tuple[Dataset, ...]) -> None:
    names = ["train", *(dataset.name for dataset in datasets)]
    for dataset in datasets:
        if names.count(dataset.name) > 1:
            raise InputError(f"validation: more than one dataset has the name {dataset.name!r}; rename a folder")
        if not any(len(image.boxes) for image in dataset.images):
            raise InputError(f"validation dataset {dataset.name}: no image has a box, so it has no AP; leave it out")


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r}: choose one of {', '.join(choices)}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} {value}: give a number from {low:g} to {high:g}")
