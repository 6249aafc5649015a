"""The training run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import BeeagentError
from numpy.typing import NDArray

from beeagent_models.datasets.augment_scene import SceneComposer
from beeagent_models.datasets.loader import Batch, BatchLoader, LoaderOptions, make_batch
from beeagent_models.datasets.loader_store import PictureStore
from beeagent_models.efficientdet.checkpoint import save_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.training.data import describe_datasets, prepare_pools
from beeagent_models.training.losses import box_loss, focal_loss
from beeagent_models.training.matching import AnchorTargets
from beeagent_models.training.network import make_network
from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.record import circumstances, refuse_other_run, write_record
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
        figures: mean losses since the last report (`loss`, `box`, `class`), `learning_rate`, `images_per_second`, and
            `watched_loss` when it was looked at.
    """

    stage: str
    done: int
    total: int
    figures: dict[str, float]


def train(options: TrainingOptions, report: Callable[[TrainingProgress], None]) -> Path:
    """Train a detector, or go on with the run found in `options.out`.

    The folder then holds `checkpoint.npz` (the moving average of the weights, for `load_checkpoint`), `training.json`
    (the options, the data and their hashes, versions and figures: what it takes to do it again) and `state.npz`. All
    three are rewritten as the run goes on, so that one that was killed can be resumed and looked at.

    The same options give the same pictures, bit for bit, on any machine with the same libraries. The weights are the
    same as far as the backend sums in a fixed order; TensorFlow's parallel sums on a CPU may differ in the last
    digits from run to run.

    Args:
        options: of the run.
        report: called as the run proceeds.

    Returns:
        The path of the checkpoint.

    Raises:
        InputError: data or weights cannot be used, or the folder holds a run with other options.
        BeeagentError: the loss is no longer a number, or a loader process failed.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {"options": options.to_json(), "data": describe_datasets(options.datasets)}
    refuse_other_run(options.out / RECORD, wanted)
    keras.utils.set_random_seed(options.seed)
    model, config = make_network(options)
    step, record = 0, {"figures": [], "seconds": 0.0}
    if (options.out / STATE).exists():
        step, record = load_state(options.out / STATE, model)
    # The record comes before the pools: a folder with pools in it can be told by it.
    write_record(options.out / RECORD, {**circumstances(options), **wanted, "steps_done": step, **record})
    train_pool, watch_pool = prepare_pools(
        options, lambda stage, done, total: report(TrainingProgress(stage, done, total, {}))
    )
    run = _Run(
        options=options,
        model=model,
        config=config,
        wanted=wanted,
        record=record,
        report=report,
        watch_pool=watch_pool,
        saved_at=time.monotonic(),
    )
    first = 0
    for phase in options.phases:
        last = first + phase.steps
        if step < last:
            run.phase(phase, train_pool, first=step, last=last)
            step = last
        first = last
    return run.save(step)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run in progress: what its phases share."""

    options: TrainingOptions
    model: keras.Model
    config: EfficientDetConfig
    wanted: dict[str, Any]
    record: dict[str, Any]
    report: Callable[[TrainingProgress], None]
    watch_pool: Path | None
    saved_at: float

    def phase(self, phase: Phase, pool: Path, *, first: int, last: int) -> None:
        """Do the steps from `first` up to `last`."""
        options, model = self.options, self.model
        loading = self._loading(pool, phase, seed=options.seed, first=first, last=last)
        watched = self._watched_batches(phase)
        with BatchLoader(loading, AnchorTargets(self.config, phase.size), workers=options.workers) as loader:
            # Compiled anew, for the one size of this phase: a step that takes any size would be slower.
            model.make_train_function(force=True)
            model.reset_metrics()
            since, started = first, time.monotonic()
            for step in range(first + 1, last + 1):
                batch = loader.next_batch()
                images = self._normalised(batch.images)
                losses = model.train_on_batch(images, [batch.boxes, batch.classes], return_dict=True)
                looked_at = bool(watched) and (step % options.watch_every == 0 or step == last)
                if looked_at or step % _REPORT_EVERY == 0 or step == last:
                    figures = self._figures(losses, step)
                    seconds = max(time.monotonic() - started, 1e-9)
                    figures["learning_rate"] = float(model.optimizer.learning_rate)
                    figures["images_per_second"] = (step - since) * phase.batch_size / seconds
                    if looked_at:
                        figures["watched_loss"] = self._watch(watched)
                        rounded = {key: round(value, 5) for key, value in figures.items()}
                        self.record["figures"].append({"step": step, **rounded})
                    self.report(TrainingProgress("steps", step, options.steps, figures))
                    model.reset_metrics()
                    since, started = step, time.monotonic()
                if step % options.save_every == 0 or step == last:
                    self.save(step)

    def save(self, step: int) -> Path:
        """Write state, checkpoint and record."""
        options, model = self.options, self.model
        now = time.monotonic()
        self.record["seconds"] = round(self.record["seconds"] + now - self.saved_at, 1)
        self.saved_at = now
        save_state(options.out / STATE, model, step=step, record=self.record)
        record = {**circumstances(options), **self.wanted, "steps_done": step, **self.record}
        trained = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
        if step:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        save_checkpoint(options.out / CHECKPOINT, model, self.config, record)
        for weight, value in zip(model.trainable_variables, trained, strict=True):
            weight.assign(value)
        write_record(options.out / RECORD, record)
        return options.out / CHECKPOINT

    def _figures(self, losses: dict[str, Any], step: int) -> dict[str, float]:
        figures = {key.removesuffix("_outputs_loss"): float(value) for key, value in losses.items()}
        if not np.isfinite(figures["loss"]):
            raise BeeagentError(
                f"step {step}: the loss is no longer a number; lower the learning rate "
                f"({self.options.learning_rate:g}) and start anew in another folder"
            )
        return figures

    def _watch(self, batches: list[Batch]) -> float:
        """Give the mean loss on pictures that are not trained on, with the weights as they are now."""
        tensor = keras.ops.convert_to_tensor
        losses = []
        for batch in batches:
            boxes, classes = self.model.predict_on_batch(self._normalised(batch.images))
            box_part = float(box_loss(tensor(batch.boxes), tensor(boxes)))
            losses.append(float(focal_loss(batch.classes, tensor(classes))) + self.options.box_weight * box_part)
        return float(np.mean(losses))

    def _watched_batches(self, phase: Phase) -> list[Batch]:
        if self.watch_pool is None:
            return []
        loading = self._loading(self.watch_pool, phase, seed=_WATCH_SEED, first=0, last=_WATCH_BATCHES)
        composer = SceneComposer(
            PictureStore(self.watch_pool), synthetic_fraction=loading.synthetic_fraction, sizes=loading.sizes
        )
        targets = AnchorTargets(self.config, phase.size)
        return [make_batch(composer, targets, loading, step) for step in range(_WATCH_BATCHES)]

    def _loading(self, store: Path, phase: Phase, *, seed: int, first: int, last: int) -> LoaderOptions:
        return LoaderOptions(
            store=store,
            seed=seed,
            size=phase.size,
            batch_size=phase.batch_size,
            synthetic_fraction=self.options.synthetic_fraction,
            sizes=self.options.sizes,
            first_step=first,
            last_step=last,
        )

    def _normalised(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shifted = images.astype(np.float32) - np.float32(self.config.mean)
        return np.asarray(shifted / np.float32(self.config.std), np.float32)
