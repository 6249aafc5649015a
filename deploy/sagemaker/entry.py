"""What a SageMaker training job runs: train, export to a bundle, and measure it if there is something to measure on.

The channels of the job say on what:

- `training`, and others whose name begins so: labelled images, in any form that `beeagent train` takes;
- `validation`, if given: labelled images that are only measured on, during training too, and choose the threshold;
- `weights`, if given: one `.npz`, the ImageNet weights of a backbone to start from;
- `checkpoint`, in its place: one `.npz`, a checkpoint of an earlier run to start from.

Hyperparameters are the options of `beeagent train` without their dashes (several values of one with blanks between),
and `licence`, that of the weights. The job's model.tar.gz has the bundle, its report and the record of the run.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_CHANNEL = "SM_CHANNEL_"  # and the channel's name in capitals: what the SageMaker Training Toolkit sets
_EXPORT_OPTIONS = ("licence",)
_GIVEN_BY_CHANNELS = ("data", "validate", "out", "backbone-weights", "warm-start")


def main(arguments: Sequence[str]) -> None:
    """Do the job.

    Args:
        arguments: the hyperparameters, as the toolkit gives them: `--name value …`.

    Raises:
        SystemExit: something is missing, or a command failed; its own words are in the log.
    """
    channels = {
        name[len(_CHANNEL) :].lower(): Path(path) for name, path in os.environ.items() if name.startswith(_CHANNEL)
    }
    options = _options(arguments)
    # Here the job's checkpoints are mirrored to S3 and back: a job that was interrupted goes on where it was.
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
    """Run a command of beeagent; its output is the job's log."""
    sys.stdout.write(f"{shlex.join(['beeagent', *arguments])}\n")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "beeagent", *arguments], check=False)
    if done.returncode:
        raise SystemExit(f"beeagent {arguments[0]} ended with {done.returncode}: see the lines above")


def _options(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Read `--name value` pairs; a value with blanks is several."""
    options: dict[str, list[str]] = {}
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        if not name.startswith("-"):
            raise SystemExit(f"hyperparameter {name!r}: expected --NAME VALUE")
        plain = name.lstrip("-").replace("_", "-")
        if plain in _GIVEN_BY_CHANNELS:
            raise SystemExit(f"hyperparameter {plain!r}: is given by the job's channels, leave it out")
        options[plain] = [value] if plain in _EXPORT_OPTIONS else value.split()
    return options


def _weights(channels: dict[str, Path]) -> list[str]:
    words = []
    for channel, option in (("weights", "--backbone-weights"), ("checkpoint", "--warm-start")):
        if channel not in channels:
            continue
        found = sorted(channels[channel].glob("*.npz"))
        if len(found) != 1:
            raise SystemExit(f"channel {channel!r} holds {len(found)} .npz files: put exactly one there")
        words += [option, str(found[0])]
    return words


if __name__ == "__main__":
    main(sys.argv[1:])
