"""A small real training run in a process of its own, to be killed and resumed. Not a test.

Nothing heavy is imported above `main`: the loader's processes import this file too.
"""

import sys
from pathlib import Path


def main(out: Path) -> None:
    """Train 12 steps at two sizes on synthetic scenes alone, and write a line a report."""
    import tensorflow as tf  # noqa: PLC0415 - see above
    from beeagent_models.efficientdet import EfficientDetConfig  # noqa: PLC0415 - see above
    from beeagent_models.training import network  # noqa: PLC0415 - see above
    from beeagent_models.training.options import Phase, TrainingOptions  # noqa: PLC0415 - see above
    from beeagent_models.training.run import TrainingProgress, train  # noqa: PLC0415 - see above

    def thin_config(
        name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None
    ) -> EfficientDetConfig:
        """The same architecture, thin and shallow: a step takes a moment."""
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

    def say(progress: TrainingProgress) -> None:
        sys.stdout.write(f"{progress.stage} {progress.done}\n")
        sys.stdout.flush()

    network.config_for = thin_config  # type: ignore[assignment, attr-defined]  # a smaller network of the same make
    # Compiling takes far longer than these few steps do.
    tf.config.run_functions_eagerly(True)  # noqa: FBT003 - TensorFlow takes it by position
    options = TrainingOptions(
        datasets=(),
        labels=("bee",),
        out=out,
        phases=(Phase(64, 2, 8), Phase(96, 2, 4)),
        scenes=6,
        grounds=2,
        warmup_steps=2,
        watch_every=4,
        save_every=3,
        synthetic_fraction=1.0,
    )
    train(options, say)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
