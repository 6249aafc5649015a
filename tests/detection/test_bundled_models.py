"""The models in the wheel, and their names for `--model`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from beeagent.detection import ModelBundle, bundled_models, default_model
from beeagent.errors import InputError
from support.beeagent_process import environment, run_beeagent
from support.bundle_folder import write_bundle

REPOSITORY = Path(__file__).parents[2]


def test_bundled_model_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = ModelBundle.load(Path("bees-lite0"))
    assert bundle.path == default_model()
    assert bundle.name == "bees-lite0"


def test_existing_path_comes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "bees-lite0", size=(96, 64), name="mine")
    monkeypatch.chdir(tmp_path)
    assert ModelBundle.load(Path("bees-lite0")).name == "mine"


@pytest.mark.parametrize("path", ["bees-lite9", "./absent/bees-lite0", "absent/bees-lite0-wide"])
def test_missing_model_is_refused_with_the_bundled_names(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"cannot be read: No such file or directory; the bundled models are bees-lite0"
    ):
        ModelBundle.load(Path(path))


def test_model_in_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    # Root may read all; this fails for every user alike.
    name = "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        ModelBundle.load(tmp_path / name)


def test_bundled_name_is_taken_on_the_command_line(tmp_path: Path) -> None:
    checked = run_beeagent("doctor", "--model", "bees-lite0", "--broker", "none", folder=tmp_path)
    assert "bees-lite0@" in checked.stdout
    refused = run_beeagent("--camera", "synthetic", "--model", "bees-lite", folder=tmp_path)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("beeagent: the model bees-lite cannot be read")
    assert ", ".join(bundled_models()) in line


@pytest.mark.timeout(180)  # uv may have to download what builds the wheel
def test_bundles_beside_each_other_ship_in_the_wheel(tmp_path: Path) -> None:
    """Of a checkout with a wide bundle, which is of another shape than the default one."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    source = tmp_path / "source"
    for folder in ("agent", "models", "export"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(REPOSITORY / file, source)
    shutil.rmtree(source / "models" / "bees-lite0-wide", ignore_errors=True)
    write_bundle(source / "models" / "bees-lite0-wide", size=(640, 384), name="bees-lite0-wide")
    write_bundle(source / "models" / "mine", size=(64, 64), name="mine")
    # For `beeagent adapt` in a clone; a device has no use for it.
    (source / "models" / "bees-lite0" / "checkpoint.float16.npz").write_bytes(b"8 MB")
    constraints = REPOSITORY / "deploy" / "greengrass" / "build-constraints.txt"
    subprocess.run(
        ["uv", "build", "--quiet", "--wheel", "--build-constraints", constraints, "--out-dir", tmp_path, source],
        check=True,
    )
    installed = tmp_path / "installed"
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, installed, format="zip")
    assert sorted(path.name for path in (installed / "beeagent" / "bundles").iterdir()) == [
        "bees-lite0",
        "bees-lite0-wide",
    ]
    assert not list(installed.rglob("*.npz"))
    assert not list(installed.rglob("mixture.toml"))
    for options, words in (((), "bees-lite0@"), (("--model", "bees-lite0-wide"), "checksums match; 640x384 pixels")):
        done = subprocess.run(
            [sys.executable, "-m", "beeagent", "doctor", "--broker", "none", *options],
            env=environment(tmp_path, PYTHONPATH=str(installed)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert words in done.stdout, done.stderr
