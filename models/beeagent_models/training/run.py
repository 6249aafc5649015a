"""Runs a training, with validation, checkpoints and resumption."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from beeagent.errors import BeeagentError, InputError
from numpy.typing import NDArray

from beeagent_models.efficientdet.checkpoint import save_checkpoint
from beeagent_models.efficientdet.config import EfficientDetConfig
from beeagent_models.training.backend import layer_precision
from beeagent_models.training.data import describe_datasets, prepare_pool, training_sample, with_labels
from beeagent_models.training.detector_model import DetectorModel, build_network
from beeagent_models.training.devices import Processes, distributed
from beeagent_models.training.loader import BatchLoader, LoaderOptions
from beeagent_models.training.matching import AnchorMatcher
from beeagent_models.training.optimizer import build_optimizer, learning_rate
from beeagent_models.training.options import TrainingOptions
from beeagent_models.training.record import environment, refuse_other_run, write_record
from beeagent_models.training.state import load_state, save_state, saved_step
from beeagent_models.training.validation import Validation

STATE, CHECKPOINT, RECORD = "state.npz", "checkpoint.npz", "training.json"
_REPORT_EVERY = 20
# With `minutes`, the speed is measured between these steps, counted from the start or the resumption. A share of the
# time is reserved for the last validation and save.
_TIMED_STEPS = 80, 200
_RESERVED_TIME = 0.04


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """The progress of a run.

    Attributes:
        stage: `images` while the pool is filled, then `steps`.
        done: number of images or steps done.
        total: total number of images or steps.
        figures: mean losses since the last report (`loss`, `box`, `class`), `learning_rate`, `images_per_second`; after
            a validation also `NAME_ap50` and `NAME_ap75` for `train` (a sample of the training images) and each
            validation dataset.
    """

    stage: str
    done: int
    total: int
    figures: dict[str, float]


def train(options: TrainingOptions, report: Callable[[TrainingProgress], None]) -> Path:
    """Train a detector, or resume the run in `options.out`.

    The folder then contains `checkpoint.npz` (the moving average of the weights, for `load_checkpoint`),
    `training.json` (options, data with hashes, versions and metrics, to reproduce the run) and `state.npz`. They are
    updated during the run, so that a killed run can be resumed.

    Equal options result in bit-identical images on any machine with the same library versions. The weights are equal if
    the backend is deterministic; TensorFlow's parallel sums on a CPU may differ in the last digits, and so may those of
    another number of devices.

    In a run of several processes (`distributed`), each calls this with the same options and the same folder. The first
    process reports and writes.

    Args:
        options: options of the run.
        report: progress callback.

    Returns:
        The path of the checkpoint.

    Raises:
        InputError: data or weights cannot be used, or the folder contains a run with other options.
        BeeagentError: the loss is not finite, or a loader process failed.
    """
    started = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    inputs = {
        "options": options.to_json(),
        "data": describe_datasets(tuple(part.dataset for part in options.sets)),
    }
    refuse_other_run(options.out / RECORD, inputs)
    keras.utils.set_random_seed(options.seed)
    with (
        distributed(devices=options.devices, batch_size=options.batch_size) as processes,
        layer_precision(options.precision),
    ):
        if processes.count > 1 and options.minutes is not None:
            raise InputError("minutes with several processes, which differ in speed: give steps")
        network, config = build_network(options)
        square = (config.input_size, config.input_size)
        width, height = options.image_size or options.input_size or square
        model = DetectorModel(network, config, width=width, height=height, box_weight=options.box_weight)
        model.build((None, height, width, 3))
        optimizer = build_optimizer(network, options)
        optimizer.build(model.trainable_variables)
        # XLA makes TensorFlow's steps slower on a CPU.
        model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
        record: dict[str, Any] = {"figures": [], "seconds": 0.0, "steps": None if options.minutes else options.steps}
        step = 0
        processes.agree_on_step(saved_step(options.out / STATE))  # loading is collective
        if (options.out / STATE).exists():
            step, record = load_state(options.out / STATE, network, optimizer)
            record["steps"] = record["steps"] if options.minutes else options.steps
        if processes.is_first:
            # Written before the pool, so that a folder with a pool always has a record.
            made_by = environment(options, devices=processes.devices)
            write_record(options.out / RECORD, {**made_by, **inputs, "steps_done": step, **record})
            prepare_pool(options, lambda done, total: report(TrainingProgress("images", done, total, {})))
        processes.wait()
        pool = prepare_pool(options, lambda _done, _total: None)
        size = options.input_size or square
        run = _Run(
            options=options,
            model=model,
            config=config,
            inputs=inputs,
            record=record,
            report=report,
            processes=processes,
            started=started,
            saved_at=time.monotonic(),
            validations=_validations(options, config, width=size[0], height=size[1]),
        )
        return run.train(pool, step, width=width, height=height)


def _validations(
    options: TrainingOptions, config: EfficientDetConfig, *, width: int, height: int
) -> tuple[Validation, ...]:
    if not options.validate_every:
        return ()
    sample = training_sample(options, width=width, height=height)
    datasets = [sample] if sample else []
    datasets += [with_labels(dataset, options.labels) for dataset in options.validation]
    return tuple(Validation(dataset, config, width=width, height=height) for dataset in datasets)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run in progress."""

    options: TrainingOptions
    model: DetectorModel
    config: EfficientDetConfig
    inputs: dict[str, Any]
    record: dict[str, Any]
    report: Callable[[TrainingProgress], None]
    processes: Processes
    started: float
    saved_at: float
    validations: tuple[Validation, ...]
    _first: int = field(default=0, init=False)
    _measured_at: float = field(default=0.0, init=False)

    def train(self, pool: Path, first: int, *, width: int, height: int) -> Path:
        """Run the steps from `first` on and return the path of the checkpoint."""
        options = self.options
        self._first = first
        share = options.batch_size // self.processes.count
        loading = LoaderOptions(
            store=pool,
            mix=options.mix,
            seed=options.seed,
            width=width,
            height=height,
            batch_size=share,
            first_image=share * self.processes.index,
            first_step=first,
            last_step=self.record["steps"] or first + 10**9,
        )
        step, since, at = first, first, time.monotonic()
        with BatchLoader(
            loading, AnchorMatcher(self.config, width=width, height=height), workers=options.workers
        ) as loader:
            while self.record["steps"] is None or step < self.record["steps"]:
                # While the number of steps is unknown, the run is in its warm-up, which hardly depends on it.
                steps = self.record["steps"] or max(options.steps, 4 * options.warmup_steps)
                self.model.optimizer.learning_rate = learning_rate(step, steps=steps, options=options)
                batch = loader.next_batch()
                losses = self.model.train_on_batch(
                    batch.images, (batch.matches, batch.boxes, batch.class_ids), return_dict=True
                )
                step += 1
                self._measure_speed(step)
                last = step == self.record["steps"]
                validate = bool(self.validations) and (step % options.validate_every == 0 or last)
                if validate or last or step % _REPORT_EVERY == 0:
                    figures = self._figures(losses, step)
                    figures["images_per_second"] = (step - since) * options.batch_size / (time.monotonic() - at + 1e-9)
                    if validate:
                        figures |= self._validate()
                    if validate or last:
                        rounded = {key: round(value, 5) for key, value in figures.items()}
                        self.record["figures"].append({"step": step, **rounded})
                    if self.processes.is_first:
                        self.report(TrainingProgress("steps", step, self.record["steps"] or options.steps, figures))
                    self.model.reset_metrics()
                    since, at = step, time.monotonic()
                if step % options.save_every == 0 and not last:
                    self.save(step)
        return self.save(step)

    def save(self, step: int) -> Path:
        """Write state, checkpoint and record."""
        options, now = self.options, time.monotonic()
        self.record["seconds"] = round(self.record["seconds"] + now - self.saved_at, 1)
        self.saved_at = now
        made_by = environment(options, devices=self.processes.devices)
        record = {**made_by, **self.inputs, "steps_done": step, **self.record}
        if self.processes.is_first:
            save_state(options.out / STATE, self.model.network, self.model.optimizer, step=step, record=self.record)
        # In all processes: JAX compares what is assigned between them.
        with self._averaged_weights():
            if self.processes.is_first:
                save_checkpoint(options.out / CHECKPOINT, self.model.network, self.config, record)
                write_record(options.out / RECORD, record)
        return options.out / CHECKPOINT

    def _measure_speed(self, step: int) -> None:
        """Derive the number of steps from `minutes`, once."""
        if self.options.minutes is None or self.record["steps"] is not None:
            return
        if step - self._first == _TIMED_STEPS[0]:
            self._measured_at = time.monotonic()
        if step - self._first == _TIMED_STEPS[1]:
            now = time.monotonic()
            seconds = (now - self._measured_at) / (_TIMED_STEPS[1] - _TIMED_STEPS[0])
            left = self.options.minutes * 60 * (1 - _RESERVED_TIME) - (now - self.started)
            self.record["steps"] = step + max(1, int(left / seconds))

    def _figures(self, losses: dict[str, Any], step: int) -> dict[str, float]:
        figures = {key: float(value) for key, value in losses.items()}
        if not np.isfinite(figures["loss"]):
            raise BeeagentError(
                f"step {step}: the loss is not finite; lower the peak learning rate "
                f"({self.options.peak_learning_rate:g}) and start a new run in another folder"
            )
        return {**figures, "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))}

    def _validate(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        with self._averaged_weights():
            for validation in self.validations:
                metrics = validation.measure(self.model.predict_on_batch)
                figures |= {f"{validation.name}_{name}": value for name, value in metrics.items()}
        return figures

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Replace the weights by their moving average inside the block."""
        variables = self.model.trainable_variables
        trained = [_to_array(variable) for variable in variables]
        for variable, average in zip(variables, self.model.optimizer.averages, strict=True):
            # A copy: on JAX, both would share one array, which the next step frees.
            variable.assign(_to_array(average))
        try:
            yield
        finally:
            for variable, value in zip(variables, trained, strict=True):
                variable.assign(value)


def _to_array(variable: Any) -> NDArray[np.float32]:  # noqa: ANN401 - a Keras variable has no type
    return np.array(keras.ops.convert_to_numpy(variable))
