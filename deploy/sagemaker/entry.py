"""Entry point of a SageMaker training job: train, export a bundle, and evaluate it if there are validation images.

The channels of the job are

- `training`, and others with this prefix: labelled images, in any format that `beeagent train` reads;
- `validation` (optional): labelled images for validation during training, and for the threshold;
- `weights` (optional): one `.npz` with ImageNet weights of the backbone;
- `checkpoint` (optional, instead of `weights`): one `.npz`, the checkpoint of an earlier run.

Hyperparameters are the options of `beeagent train` without the leading dashes (several values are separated by
spaces), and `licence`, the licence of the weights. The job's model.tar.gz has the bundle, its report and the record of
the run.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_CHANNEL = "SM_CHANNEL_"  # followed by the channel in capitals; set by the SageMaker Training Toolkit
_EXPORT_OPTIONS = ("licence",)
_CHANNEL_OPTIONS = ("data", "validate", "out", "backbone-weights", "warm-start")


def main(arguments: Sequence[str]) -> None:
    """Run the job.

    Args:
        arguments: hyperparameters as the toolkit passes them, `--name value …`.

    Raises:
        SystemExit: a channel is missing, or a command failed; its errors are in the log.
    """
    channels = {
        name[len(_CHANNEL) :].lower(): Path(path) for name, path in os.environ.items() if name.startswith(_CHANNEL)
    }
    options = _options(arguments)
    # SageMaker mirrors this folder to S3 and back, so that an interrupted job resumes.
    run = Path(os.environ.get("BEEAGENT_CHECKPOINTS", "/opt/ml/checkpoints")) / "run"
    model = Path(os.environ["SM_MODEL_DIR"])
    data = [path for name, path in sorted(channels.items()) if name.startswith("training")]
    if not data:
        raise SystemExit(f"the job has no channel 'training'; it has {', '.join(sorted(channels)) or 'none'}")
    licence = options.pop("licence", ["NOASSERTION"])
    words = [word for name, values in options.items() for value in values for word in (f"--{name}", value)]
    sources = [word for path in data for word in ("--data", str(path))]
    if "validation" in channels:
        sources += ["--validate", str(channels["validation"])]
    beeagent("train", *sources, *_weights(channels), *words, "--out", str(run))
    bundle = model / "bundle"
    beeagent(
        "export", str(run / "checkpoint.npz"), "--out", str(bundle), "--force", "--calibrate", str(data[0]),
        "--report", str(model / "report.json"), "--licence", *licence,
    )  # fmt: skip
    shutil.copy(run / "training.json", model / "training.json")
    if "validation" in channels:
        beeagent("evaluate", str(bundle), str(channels["validation"]), "--best-f1", "--record", "validation")


def beeagent(*arguments: str) -> None:
    """Run a command of beeagent; its output goes to the log of the job."""
    sys.stdout.write(f"{shlex.join(['beeagent', *arguments])}\n")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "beeagent", *arguments], check=False)
    if done.returncode:
        raise SystemExit(f"beeagent {arguments[0]} ended with {done.returncode}: see the lines above")


def _options(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Parse `--name value` pairs; a value with spaces is a list."""
    options: dict[str, list[str]] = {}
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        if not name.startswith("-"):
            raise SystemExit(f"hyperparameter {name!r}: expected --NAME VALUE")
        plain = name.lstrip("-").replace("_", "-")
        if plain in _CHANNEL_OPTIONS:
            raise SystemExit(f"hyperparameter {plain!r}: is set by the job's channels; remove it")
        options[plain] = [value] if plain in _EXPORT_OPTIONS else value.split()
    return options


def _weights(channels: dict[str, Path]) -> list[str]:
    words = []
    for channel, option in (("weights", "--backbone-weights"), ("checkpoint", "--warm-start")):
        if channel not in channels:
            continue
        found = sorted(channels[channel].glob("*.npz"))
        if len(found) != 1:
            raise SystemExit(f"channel {channel!r} has {len(found)} .npz files: it must have exactly one")
        words += [option, str(found[0])]
    return words


if __name__ == "__main__":
    main(sys.argv[1:])
