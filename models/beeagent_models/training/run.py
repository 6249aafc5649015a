"""The training run."""

import datetime
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.augment_scene import SceneComposer
from beeagent_models.datasets.loader import Batch, BatchLoader, LoaderOptions, make_batch
from beeagent_models.datasets.loader_store import PictureStore
from beeagent_models.efficientdet.backbone import backbone_layers, load_backbone_weights
from beeagent_models.efficientdet.checkpoint import load_checkpoint, save_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.efficientdet.model import build_model
from beeagent_models.training.data import describe_datasets, prepare_pools
from beeagent_models.training.losses import box_loss, focal_loss
from beeagent_models.training.matching import AnchorTargets
from beeagent_models.training.optimizer import make_optimizer
from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.state import load_state, save_state

STATE, CHECKPOINT, RECORD = "state.npz", "checkpoint.npz", "training.json"
_REPORT_EVERY = 20
_WATCH_BATCHES = 6
_WATCH_SEED = 99


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a run has come.

    Attributes:
        stage: `pictures` and `watched` while the pools are filled, then `steps`.
        done: of these, how many are done.
        total: their number.
        figures: mean losses since the last report (`loss`, `box`, `class`), `images_per_second`, and `watched_loss`
            when it was looked at.
    """

    stage: str
    done: int
    total: int
    figures: dict[str, float]


def train(options: TrainingOptions, report: Callable[[TrainingProgress], None]) -> Path:
    """Train a detector, or go on with the run found in `options.out`.

    The folder then holds `checkpoint.npz` (the moving average of the weights, for `load_checkpoint`), `training.json` (the
    options, the data and their hashes, versions and figures: what it takes to do it again) and `state.npz`. All
    three are rewritten as the run goes on, so that one that was killed can be resumed and looked at.

    On one machine and one version of the libraries the same options give the same pictures bit for bit; the weights
    differ in the last digits as far as the backend sums in parallel in no fixed order.

    Args:
        options: of the run.
        report: called as the run proceeds.

    Returns:
        The path of the checkpoint.

    Raises:
        InputError: data or weights cannot be used, or the folder holds a run with other options.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {"options": options.to_json(), "data": describe_datasets(options.datasets)}
    _refuse_other_run(options.out, wanted)
    _write_json(options.out / RECORD, {**_circumstances(options), **wanted, "figures": []})
    train_pool, watch_pool = prepare_pools(options, lambda stage, done, total: report(TrainingProgress(stage, done, total, {})))
    keras.utils.set_random_seed(options.seed)
    model, config = _initial_model(options)
    _freeze(model, options.frozen_stages)
    _compile(model, options)
    step, record = 0, {"figures": [], "seconds": 0.0}
    if (options.out / STATE).exists():
        step, record = load_state(options.out / STATE, model)
    run = _Run(options, model, config, wanted, record, report, watch_pool)
    first = 0
    for phase in options.phases:
        last = first + phase.steps
        if step < last:
            step = run.phase(phase, train_pool, first=step, last=last)
        first = last
    return run.save(step)


class _Run:
    """A run in progress: the parts that every phase shares."""

    def __init__(
        self,
        options: TrainingOptions,
        model: keras.Model,
        config: EfficientDetConfig,
        wanted: dict[str, Any],
        record: dict[str, Any],
        report: Callable[[TrainingProgress], None],
        watch_pool: Path | None,
    ) -> None:
        self._options, self._model, self._config = options, model, config
        self._wanted, self._record, self._report, self._watch_pool = wanted, record, report, watch_pool
        self._saved_at = time.monotonic()

    def phase(self, phase: Phase, pool: Path, *, first: int, last: int) -> int:
        """Do the steps from `first` up to `last`."""
        options, model = self._options, self._model
        targets = AnchorTargets(self._config, phase.size)
        loading = self._loading(pool, phase, seed=options.seed, first=first, last=last)
        watched = self._watched_batches(phase)
        with BatchLoader(loading, targets, workers=options.workers) as loader:
            model.reset_metrics()
            since, started = first, time.monotonic()
            for step in range(first + 1, last + 1):
                batch = loader.next_batch()
                logs = model.train_on_batch(self._normalised(batch.images), [batch.boxes, batch.classes], return_dict=True)
                look = watched and (step % options.watch_every == 0 or step == last)
                if step % _REPORT_EVERY == 0 or look or step == last:
                    figures = {key.removesuffix("_outputs_loss"): float(value) for key, value in logs.items()}
                    if not np.isfinite(figures["loss"]):
                        raise InputError(
                            f"step {step}: the loss is no longer a number; lower the learning rate ({options.learning_rate:g})"
                        )
                    seconds = max(time.monotonic() - started, 1e-9)
                    figures["images_per_second"] = (step - since) * phase.batch_size / seconds
                    if look:
                        figures["watched_loss"] = self._watch(watched)
                        self._record["figures"].append({"step": step, **{k: round(v, 5) for k, v in figures.items()}})
                    self._report(TrainingProgress("steps", step, options.steps, figures))
                    model.reset_metrics()
                    since, started = step, time.monotonic()
                if step % options.save_every == 0 or step == last:
                    self.save(step)
        return last

    def save(self, step: int) -> Path:
        """Write state, checkpoint and record."""
        options, model = self._options, self._model
        now = time.monotonic()
        self._record["seconds"] = round(self._record["seconds"] + now - self._saved_at, 1)
        self._saved_at = now
        save_state(options.out / STATE, model, step=step, record=self._record)
        record = {**_circumstances(options), **self._wanted, "steps_done": step, **self._record}
        trained = [weight.numpy() for weight in model.trainable_variables]
        model.optimizer.finalize_variable_values(model.trainable_variables)
        save_checkpoint(options.out / CHECKPOINT, model, self._config, record)
        for weight, value in zip(model.trainable_variables, trained, strict=True):
            weight.assign(value)
        _write_json(options.out / RECORD, record)
        return options.out / CHECKPOINT

    def _watch(self, batches: list[Batch]) -> float:
        losses = []
        for batch in batches:
            boxes, classes = self._model.predict_on_batch(self._normalised(batch.images))
            class_part = float(focal_loss(batch.classes, keras.ops.convert_to_tensor(classes)))
            box_part = float(box_loss(keras.ops.convert_to_tensor(batch.boxes), keras.ops.convert_to_tensor(boxes)))
            losses.append(class_part + self._options.box_weight * box_part)
        return float(np.mean(losses))

    def _watched_batches(self, phase: Phase) -> list[Batch]:
        if self._watch_pool is None:
            return []
        loading = self._loading(self._watch_pool, phase, seed=_WATCH_SEED, first=0, last=_WATCH_BATCHES)
        composer = SceneComposer(
            PictureStore(self._watch_pool), synthetic_fraction=loading.synthetic_fraction, sizes=loading.sizes
        )
        targets = AnchorTargets(self._config, phase.size)
        return [make_batch(composer, targets, loading, step) for step in range(_WATCH_BATCHES)]

    def _loading(self, store: Path, phase: Phase, *, seed: int, first: int, last: int) -> LoaderOptions:
        return LoaderOptions(
            store=store,
            seed=seed,
            size=phase.size,
            batch_size=phase.batch_size,
            synthetic_fraction=self._options.synthetic_fraction,
            sizes=self._options.sizes,
            first_step=first,
            last_step=last,
        )

    def _normalised(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (images.astype(np.float32) - np.float32(self._config.mean)) / np.float32(self._config.std)


def _initial_model(options: TrainingOptions) -> tuple[keras.Model, EfficientDetConfig]:
    config = config_for(
        options.model, labels=options.labels, anchor_scale=options.anchor_scale, input_size=options.input_size
    )
    if options.warm_start:
        model, found, _ = load_checkpoint(options.warm_start)
        if found != config:
            raise InputError(
                f"warm start {options.warm_start}: it is a {found.name} with labels {', '.join(found.labels)}, input size "
                f"{found.input_size} and anchor scale {found.anchor_scale:g}, which is not what these options say"
            )
        return model, config
    model = build_model(config)
    if options.backbone_weights:
        load_backbone_weights(model, config, options.backbone_weights)
    return model, config


def _freeze(model: keras.Model, stages: int) -> None:
    """Leave the stem and the first stages of the backbone as they are: what they see, edges and colours, is general."""
    for layer in backbone_layers(model):
        stage = 1 if layer.name == "stem" else int(layer.name.removeprefix("stage").partition("_")[0])
        layer.trainable = stage > stages


def _compile(model: keras.Model, options: TrainingOptions) -> None:
    optimizer = make_optimizer(
        model,
        steps=options.steps,
        warmup_steps=min(options.warmup_steps, options.steps // 2),
        learning_rate=options.learning_rate,
        backbone_factor=options.backbone_factor,
        weight_decay=options.weight_decay,
        gradient_norm=options.gradient_norm,
        ema_momentum=options.ema_momentum,
    )
    optimizer.build(model.trainable_variables)
    # TensorFlow's just-in-time compiler makes these steps slower on a CPU.
    model.compile(
        optimizer=optimizer, loss=[box_loss, focal_loss], loss_weights=[options.box_weight, 1.0], jit_compile=False
    )


def _circumstances(options: TrainingOptions) -> dict[str, Any]:
    packages = ["keras", "numpy", "opencv-python-headless", keras.backend.backend()]
    return {
        "command": options.command,
        "revision": options.revision,
        "written_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": keras.backend.backend(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _refuse_other_run(out: Path, wanted: dict[str, Any]) -> None:
    """Resume only what was started with the same options and data.

    Raises:
        InputError: the folder holds another run.
    """
    path = out / RECORD
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text())
        found = {"options": found["options"], "data": found["data"]}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a training run; choose another folder") from None
    if found != json.loads(json.dumps(wanted)):
        for part in ("options", "data"):
            if found[part] != json.loads(json.dumps(wanted[part])):
                raise InputError(f"{out}: holds a run with other {part}; give the same ones to resume it, or another folder")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)
