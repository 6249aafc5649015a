"""What decides a training run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beeagent.errors import InputError

from beeagent_models.datasets.augment_scene import Sizes
from beeagent_models.datasets.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a run at one picture size.

    Attributes:
        size: width and height of the pictures in pixels. Objects keep their size: a smaller picture shows fewer.
        batch_size: pictures a step.
        steps: number of steps.
    """

    size: int
    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        if self.size < 64 or self.batch_size < 1 or self.steps < 1:
            raise InputError(f"phase {self}: give a size of at least 64 pixels, and a batch and steps of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Everything that decides a run; the same options give the same run.

    Attributes:
        datasets: the labelled photographs.
        labels: the classes of the detector. Each data set's labels are found in them by name.
        out: folder of the run: picture pool, state, checkpoint, record. A run found there is resumed.
        model: `lite0` to `lite4`.
        input_size: of the finished detector, in pixels; None takes the model's own.
        anchor_scale: side of the finest anchors in strides; the published 3.0 suits larger objects than bees.
        backbone_weights: ImageNet weights with folded batch normalisation (`.npz`).
        warm_start: a checkpoint of the same architecture to go on from, in place of `backbone_weights`.
        phases: stretches of the run, in order.
        seed: decides weights, pictures and their order.
        learning_rate: the highest, of the pyramid and the heads.
        backbone_factor: on the learning rate of the backbone.
        frozen_stages: the first stages of the backbone, 0 to 7, that are left as they are (with the stem, from 1 on).
        warmup_steps: over which the learning rate rises from 0.
        weight_decay: of kernels.
        gradient_norm: the gradients are clipped to this norm.
        ema_momentum: of the moving average of the weights that becomes the result.
        box_weight: of the box loss, beside the class loss.
        synthetic_fraction: share of the pictures drawn from synthetic scenes alone.
        synthetic_label: what the synthetic scenes show; without that label there are none.
        scenes: number of synthetic scenes in the pool.
        grounds: number of empty grounds in the pool, for cut-outs.
        ignored_border: left, top, right and bottom strips of photographs, as ratios, where objects may be unlabelled.
        blue_ground: photographs show objects on a blue ground: draw their boxes in to the objects, and leave objects
            without a box out of the loss.
        sizes: of the objects in the composed pictures.
        held_back: every n-th photograph of each data set is used for watching the loss, not for training; 0: none.
        watch_every: steps between looks at the loss on what is held back.
        save_every: steps between saves of the state.
        workers: processes that make batches. The result does not depend on it.
        command: the command line, for the record.
        revision: the commit of the code, for the record.
    """

    datasets: tuple[Dataset, ...]
    labels: tuple[str, ...]
    out: Path
    model: str = "lite0"
    input_size: int | None = None
    anchor_scale: float = 2.0
    backbone_weights: Path | None = None
    warm_start: Path | None = None
    phases: tuple[Phase, ...] = (Phase(192, 8, 2800), Phase(320, 8, 400))
    seed: int = 0
    learning_rate: float = 1.5e-3
    backbone_factor: float = 0.15
    frozen_stages: int = 2
    warmup_steps: int = 150
    weight_decay: float = 0.02
    gradient_norm: float = 8.0
    ema_momentum: float = 0.996
    box_weight: float = 1.5
    synthetic_fraction: float = 0.4
    synthetic_label: str = "bee"
    scenes: int = 500
    grounds: int = 250
    ignored_border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    blue_ground: bool = False
    sizes: Sizes = dataclasses.field(default_factory=Sizes)
    held_back: int = 15
    watch_every: int = 200
    save_every: int = 100
    workers: int = 1
    command: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("phases: give at least one")
        if not self.datasets and not (self.scenes and self.synthetic_label in self.labels):
            raise InputError("data sets: give at least one, or synthetic scenes with their label among the labels")
        if self.backbone_weights and self.warm_start:
            raise InputError("backbone weights and a warm start: give one of them")
        _within("learning rate", self.learning_rate, 1e-7, 1.0)
        _within("backbone factor", self.backbone_factor, 0.0, 10.0)
        _within("frozen stages", self.frozen_stages, 0, 7)
        if len(self.ignored_border) != len(("left", "top", "right", "bottom")):
            raise InputError(f"ignored border {self.ignored_border}: give left, top, right and bottom")
        _within("weight decay", self.weight_decay, 0.0, 1.0)
        _within("EMA momentum", self.ema_momentum, 0.0, 0.99999)
        _within("synthetic fraction", self.synthetic_fraction, 0.0, 1.0)
        _within("workers", self.workers, 1, 64)
        for name in ("warmup_steps", "scenes", "grounds", "held_back"):
            _within(name.replace("_", " "), getattr(self, name), 0, 1_000_000_000)
        for name in ("watch_every", "save_every"):
            _within(name.replace("_", " "), getattr(self, name), 1, 1_000_000_000)
        for ratio in self.ignored_border:
            _within("ignored border", ratio, 0.0, 0.5)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(phase.steps for phase in self.phases)

    def to_json(self) -> dict[str, Any]:
        """Give what decides the result, as JSON knows it: not the folder, the workers or how often state is saved."""
        values = dataclasses.asdict(self)
        for name in ("datasets", "out", "workers", "save_every", "command", "revision"):
            del values[name]
        for name in ("backbone_weights", "warm_start"):
            values[name] = values[name] and values[name].name
        values["phases"] = [dataclasses.asdict(phase) for phase in self.phases]
        values["datasets"] = [dataset.name for dataset in self.datasets]
        for name in ("labels", "ignored_border"):
            values[name] = list(values[name])
        return values


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} {value}: give a number from {low:g} to {high:g}")
