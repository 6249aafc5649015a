"""A small real training run in a process of its own, to be killed and resumed. Not a test."""

import sys
from pathlib import Path

import keras
from beeagent_models.efficientdet import EfficientDetConfig
from beeagent_models.training import network
from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.run import TrainingProgress, train


def thin_config(
    name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None
) -> EfficientDetConfig:
    """The same architecture, thin and shallow: a step takes milliseconds."""
    return EfficientDetConfig(
        name=name,
        labels=labels,
        input_size=input_size or 64,
        width_coefficient=0.25,
        depth_coefficient=0.5,
        bifpn_width=8,
        bifpn_repeats=1,
        head_repeats=1,
        anchor_scale=anchor_scale,
    )


def options(out: Path, **changes: object) -> TrainingOptions:
    """A run of 40 steps at two sizes on synthetic scenes alone."""
    values: dict[str, object] = {
        "datasets": (),
        "labels": ("bee",),
        "out": out,
        "phases": (Phase(64, 2, 24), Phase(96, 2, 16)),
        "scenes": 6,
        "grounds": 2,
        "warmup_steps": 4,
        "watch_every": 10,
        "save_every": 5,
        "synthetic_fraction": 1.0,
        **changes,
    }
    return TrainingOptions(**values)  # type: ignore[arg-type]  # a mapping of fields


def say(progress: TrainingProgress) -> None:
    """Write a line a report."""
    sys.stdout.write(f"{progress.stage} {progress.done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    network.config_for = thin_config  # type: ignore[assignment]  # a smaller network of the same make
    keras.config.disable_traceback_filtering()
    train(options(Path(sys.argv[1])), say)
