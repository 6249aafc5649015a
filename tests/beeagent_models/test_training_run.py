import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.dataset import Dataset, LabelledImage

pytest.importorskip("keras")

from beeagent_models.efficientdet.checkpoint import read_archive
from beeagent_models.training.data import describe_datasets, with_labels
from beeagent_models.training.options import Phase, TrainingOptions
from beeagent_models.training.run import train

SCRIPT = Path(__file__).with_name("training_script.py")
DEADLINE = 900


def start(out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def finish(out: Path) -> list[str]:
    with start(out) as process:
        lines, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return lines.splitlines()


def kill_after_first_save(out: Path) -> int:
    """Start a run, kill it as soon as it has saved its state, and give the step it can be resumed from."""
    deadline = time.monotonic() + DEADLINE
    with start(out) as process:
        while not (out / "state.npz").exists() and process.poll() is None and time.monotonic() < deadline:
            # Looks again soon, and leaves the processor to the run meanwhile.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGKILL)
    return int(read_archive(out / "state.npz")[0]["step"])


@pytest.mark.timeout(3 * DEADLINE)
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    finish(tmp_path / "whole")
    step = kill_after_first_save(tmp_path / "killed")
    assert 0 < step < 12
    lines = finish(tmp_path / "killed")
    assert not any(line.startswith("pictures") for line in lines)  # the pool was there already
    whole, record = (
        read_archive(tmp_path / "whole" / "checkpoint.npz")[1],
        json.loads((tmp_path / "killed" / "training.json").read_text()),
    )
    resumed = read_archive(tmp_path / "killed" / "checkpoint.npz")[1]
    assert record["steps_done"] == 12
    assert [entry["step"] for entry in record["figures"]] == [4, 8, 12]
    early = read_archive(tmp_path / "whole" / "state.npz")[1]
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        np.testing.assert_allclose(resumed[key], value, atol=2e-4, err_msg=key)
    # The checkpoint holds the moving average and not the weights of the last step.
    assert any(np.abs(early[key] - value).max() > 1e-3 for key, value in whole.items() if key.endswith("kernel"))


def test_other_options_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    options = synthetic_options(tmp_path)
    record = {"options": options.to_json(), "data": []}
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="other options"):
        train(dataclasses.replace(options, seed=1), lambda _: None)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match="not the record"):
        train(options, lambda _: None)


def synthetic_options(out: Path) -> TrainingOptions:
    return TrainingOptions(datasets=(), labels=("bee",), out=out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"frozen_stages": 8}, "frozen stages 8"),
        ({"synthetic_fraction": 1.5}, "synthetic fraction 1.5"),
        ({"scenes": -1}, "scenes -1"),
        ({"workers": 0}, "workers 0"),
        ({"ignored_border": (0.0, 0.9, 0.0, 0.0)}, "ignored border 0.9"),
        ({"phases": ()}, "phases"),
        ({"scenes": 0}, "data sets"),
        ({"backbone_weights": Path("a"), "warm_start": Path("b")}, "one of them"),
    ],
)
def test_options_out_of_range_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(synthetic_options(tmp_path), **changes)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(("size", "batch_size", "steps"), [(32, 8, 1), (64, 0, 1), (64, 8, 0)])
def test_a_phase_out_of_range_is_named(size: int, batch_size: int, steps: int) -> None:
    with pytest.raises(InputError, match="phase"):
        Phase(size, batch_size, steps)


def one_picture(folder: Path, labels: tuple[str, ...]) -> Dataset:
    path = folder / "a.jpg"
    path.write_bytes(b"content")
    boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
    return Dataset(name="one", images=(LabelledImage(path, 8, 8, boxes, np.array([0, 1])),), labels=labels)


def test_classes_are_found_by_name(tmp_path: Path) -> None:
    renumbered = with_labels(one_picture(tmp_path, ("wasp", "bee")), ("bee", "hornet", "wasp"))
    assert renumbered.images[0].class_ids.tolist() == [2, 0]
    with pytest.raises(InputError, match="'wasp'"):
        with_labels(one_picture(tmp_path, ("wasp", "bee")), ("bee",))


def test_another_picture_or_label_is_another_data_set(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, ("bee", "wasp"))
    (first,) = describe_datasets((dataset,))
    assert (first["images"], first["boxes"]) == (1, 2)
    moved = dataclasses.replace(dataset.images[0], boxes=dataset.images[0].boxes + 1)
    assert describe_datasets((dataclasses.replace(dataset, images=(moved,)),))[0]["sha256"] != first["sha256"]
    (tmp_path / "a.jpg").write_bytes(b"Content")
    assert describe_datasets((dataset,))[0]["sha256"] != first["sha256"]
