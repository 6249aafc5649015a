"""`beeagent adapt` with a thin network, as a process that tests kill and resume. Not a test.

Arguments: those of the command line; before them, `--make-base FILE` writes an untrained checkpoint and ends.
Nothing heavy is imported above `main`: the loader's processes import this file too.
"""

import sys
from pathlib import Path


def main() -> None:
    from beeagent.cli import app as cli  # noqa: PLC0415 - see above
    from beeagent_export.source import prepare_keras  # noqa: PLC0415 - see above

    prepare_keras()
    import keras  # noqa: PLC0415 - see above
    from beeagent_export import adaptation  # noqa: PLC0415 - see above
    from beeagent_models.efficientdet import EfficientDetConfig, build_model, save_checkpoint  # noqa: PLC0415
    from beeagent_models.training import detector_model  # noqa: PLC0415 - see above

    def thin_config(
        name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None
    ) -> EfficientDetConfig:
        """The same architecture, thin and shallow."""
        return EfficientDetConfig(
            name=name,
            labels=labels,
            input_size=input_size or 128,
            width_coefficient=0.25,
            depth_coefficient=0.5,
            bifpn_width=16,
            bifpn_repeats=1,
            head_repeats=1,
            anchor_scale=anchor_scale,
        )

    if sys.argv[1] == "--make-base":
        keras.utils.set_random_seed(1)
        config = thin_config("lite0", labels=("bee",), anchor_scale=1.5, input_size=None)
        save_checkpoint(Path(sys.argv[2]), build_model(config), config, {}, half=True)
        return
    detector_model.config_for = thin_config  # type: ignore[assignment]  # a smaller network of the same make
    adaptation._PEAK_LEARNING_RATE = 0.03  # the base knows nothing
    cli.main()


if __name__ == "__main__":
    main()
