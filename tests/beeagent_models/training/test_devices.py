"""One training run on several devices and in several processes, on JAX with virtual devices of a CPU."""

import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.synthesize import synthesize

pytest.importorskip("keras")

import keras
from beeagent_models.efficientdet.checkpoint import read_archive
from beeagent_models.training.devices import Processes, distributed

needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed: pip install jax")
# JAX compiles the step once per process, which takes most of the time.
pytestmark = [pytest.mark.training, pytest.mark.timeout(2400)]

SCRIPT = Path(__file__).with_name("training_script.py")
STEPS = 6
# A step without the backbone's gradients is compiled in a fraction of the time.
OPTIONS = {"steps": STEPS, "frozen_stages": 7, "scenes": 3, "validate_every": 0}


def start(*command: str, devices: int = 1, processes: int = 1, index: int = 0, port: int = 0) -> subprocess.Popen[str]:
    """Start Python on JAX with so many virtual devices, as one of so many processes."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
    }
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def train(*outs: Path, devices: int | None = None) -> list[tuple[int, str, str]]:
    """Run the training script in one process per folder; return exit code, output and errors of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        start(
            *(str(SCRIPT), str(out), str(out.parent / "drawn"), json.dumps({**OPTIONS, "devices": devices})),
            devices=devices or 1,
            processes=len(outs),
            index=index,
            port=port,
        )
        for index, out in enumerate(outs)
    ]
    ended = []
    for process in started:
        with process:
            output, errors = process.communicate()
        ended.append((process.returncode, output, errors))
    return ended


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run on one device."""
    folder = tmp_path_factory.mktemp("runs")
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    synthesize(folder / "drawn", frames=3, width=96, height=64, seed=1, created_at=date)
    [(code, _, errors)] = train(folder / "one")
    assert code == 0, errors
    return folder / "one"


def assert_same_run(out: Path, reference: Path, *, devices: int) -> None:
    """Compare what the loss depends on.

    Biases before a normalisation have a gradient of 0 but for rounding, which Adam and Muon scale to full steps: they
    differ, without effect on the loss.
    """
    found, wanted = (read_archive(folder / "checkpoint.npz")[1] for folder in (out, reference))
    assert found.keys() == wanted.keys()
    for key in ("class_predict/pointwise_kernel", "class_predict/bias", "class_predict/depthwise_kernel"):
        np.testing.assert_allclose(found[key], wanted[key], atol=1e-3, err_msg=key)
    record, other = (json.loads((folder / "training.json").read_text()) for folder in (out, reference))
    assert (record["devices"], other["devices"]) == (devices, 1)
    assert record["steps_done"] == other["steps_done"] == STEPS
    for name in ("loss", "box", "class"):
        assert record["figures"][-1][name] == pytest.approx(other["figures"][-1][name], rel=1e-3)


@needs_jax
def test_two_devices_train_as_one(reference: Path) -> None:
    out = reference.with_name("two devices")
    [(code, _, errors)] = train(out, devices=2)
    assert code == 0, errors
    assert_same_run(out, reference, devices=2)


@needs_jax
def test_two_processes_train_as_one(reference: Path) -> None:
    out = reference.with_name("two processes")
    (code, lines, errors), (other_code, other_lines, other_errors) = train(out, out)
    assert code == 0, errors
    assert other_code == 0, other_errors
    assert f"steps {STEPS}" in lines.splitlines()
    assert "steps" not in other_lines  # the first process alone reports
    assert_same_run(out, reference, devices=2)


@needs_jax
def test_processes_without_a_shared_folder_do_not_begin(reference: Path) -> None:
    resumed = shutil.copytree(reference, reference.with_name("resumed"))
    for code, _, errors in train(resumed, reference.with_name("new")):
        assert code == 1, errors
        assert f"InputError: the processes begin at steps 0, {STEPS}: give all the same --out" in errors


@needs_jax
@pytest.mark.parametrize(
    ("devices", "batch_size", "message"),
    [
        (2, 3, "batch size 3: give a multiple of 2, the number of devices"),
        (3, 6, "devices is 3: JAX has 2 here (cpu:0, cpu:1)"),
    ],
)
def test_devices_that_cannot_be_used_are_refused(devices: int, batch_size: int, message: str) -> None:
    code = (
        "from beeagent_models.training.devices import distributed\n"
        f"with distributed(devices={devices}, batch_size={batch_size}): pass"
    )
    with start("-c", code, devices=2) as process:
        _, errors = process.communicate()
    assert f"InputError: {message}" in errors


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX is the backend")
def test_several_devices_need_jax() -> None:
    with pytest.raises(InputError, match="set KERAS_BACKEND=jax"), distributed(devices=2, batch_size=8):
        pass


@pytest.mark.parametrize("devices", [None, 1])
def test_one_device_is_not_distributed(devices: int | None) -> None:
    with distributed(devices=devices, batch_size=7) as processes:
        assert processes == Processes(index=0, count=1, devices=1)
        assert keras.distribution.distribution() is None
