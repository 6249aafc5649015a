"""A small real training run, as a process that tests kill and resume, or several that share it. Not a test.

Nothing heavy is imported above `main`: the loader's processes import this file too.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any


def main(out: Path, validation: Path, **changed: Any) -> None:  # noqa: ANN401 - of any type
    """Train 12 steps on synthetic scenes alone, with some options changed, and write a line a report."""
    import keras  # noqa: PLC0415 - see above
    from beeagent_models.datasets.reading import read_dataset  # noqa: PLC0415 - see above
    from beeagent_models.efficientdet.config import EfficientDetConfig  # noqa: PLC0415 - see above
    from beeagent_models.training import detector_model, optimizer  # noqa: PLC0415 - see above
    from beeagent_models.training.options import TrainingOptions  # noqa: PLC0415 - see above
    from beeagent_models.training.run import TrainingProgress, train  # noqa: PLC0415 - see above

    def thin_config(
        name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None
    ) -> EfficientDetConfig:
        """Return the same architecture, thin and shallow: a step takes a moment."""
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

    def print_progress(progress: TrainingProgress) -> None:
        sys.stdout.write(f"{progress.stage} {progress.done}\n")
        sys.stdout.flush()

    detector_model.config_for = thin_config  # type: ignore[assignment, attr-defined]  # a smaller network of the same make
    optimizer._AVERAGING_SPAN = 0.5  # so few steps would have no average otherwise
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 - see above

        # Compiling takes far longer than these few steps do.
        tf.config.run_functions_eagerly(True)  # noqa: FBT003 - TensorFlow takes it by position
    options = TrainingOptions(
        sets=(),
        validation=(read_dataset(validation),),
        labels=("bee",),
        out=out,
        input_size=(64, 64),
        batch_size=2,
        steps=12,
        scenes=6,
        backgrounds=2,
        warmup_steps=2,
        validate_every=4,
        save_every=3,
        synthetic=1.0,
        pasted=0.0,
    )
    train(dataclasses.replace(options, **changed), print_progress)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}"))
