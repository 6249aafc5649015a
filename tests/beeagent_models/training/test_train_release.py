import os
import shutil
import subprocess
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.mixture import read_training_sets

MODELS = Path(__file__).parents[3] / "models"
SCRIPT = MODELS / "train_release.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def start(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script with a `beeagent` that prints its arguments: the real one would train for hours."""
    program = folder / "bin" / "beeagent"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def test_release_is_trained_with_the_mixture_file(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    (data / "hive").mkdir(parents=True)
    (data / "weights").mkdir()
    weights = data / "weights" / "efficientnet_lite0_imagenet_backbone_dequant.npz"
    weights.touch()
    done = start(tmp_path, data, tmp_path / "run", "--minutes", "10", "--workers", "3")
    copied = data / "bees-lite0.mixture.toml"
    assert done.stdout.splitlines() == [
        "train", "--data", str(copied), "--out", str(tmp_path / "run"), "--input-size", "320",
        "--validate", str(data / "hive"), "--backbone-weights", str(weights), "--minutes", "10", "--workers", "3",
    ]  # fmt: skip
    assert copied.read_bytes() == (MODELS / "bees-lite0" / "mixture.toml").read_bytes()
    # The mixture is whole: what is missing is its first dataset, which is not in this folder.
    with pytest.raises(InputError, match="my data/ramp: there is no such file or folder"):
        read_training_sets(str(copied))


def test_another_start_replaces_the_weights_of_the_backbone(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "efficientnet_lite0_imagenet_backbone_dequant.npz"
    weights.parent.mkdir()
    weights.touch()
    done = start(tmp_path, tmp_path, "run", "--steps", "9", "--warm-start", "a.npz")
    assert done.stdout.splitlines()[-4:] == ["--steps", "9", "--warm-start", "a.npz"]
    assert "--backbone-weights" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "train_release.sh DATA OUT (--minutes N | --steps N)"),
        (("nowhere", "run", "--steps", "3"), "data 'nowhere': there is no such folder"),
        ((".", "run", "3", "4"), "the third argument is '3': give --minutes N or --steps N"),
    ],
)
def test_a_wrong_call_is_refused_with_the_reason(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = start(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout
