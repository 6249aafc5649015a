import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.mixture import TrainingSet
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.synthesize import synthesize

pytest.importorskip("keras")

from beeagent_models.efficientdet.backbone import backbone_layers
from beeagent_models.efficientdet.checkpoint import load_checkpoint, read_archive
from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.training import detector_model, run
from beeagent_models.training.data import describe_datasets, with_labels
from beeagent_models.training.options import TrainingOptions
from beeagent_models.training.record import refuse_other_run
from beeagent_models.training.run import TrainingProgress, train

pytestmark = pytest.mark.training

SCRIPT = Path(__file__).with_name("training_script.py")
DEADLINE = 900


def start(out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(out.parent / "drawn")],
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


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_after_first_save(out: Path) -> int:
    """Start a run, kill it as soon as it has saved its state, and return the step it can be resumed from."""
    deadline = time.monotonic() + DEADLINE
    with start(out) as process:
        while not (out / "state.npz").exists() and process.poll() is None and time.monotonic() < deadline:
            # Looks again soon, and leaves the processor to the run meanwhile.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        loaders = [os.pidfd_open(child) for child in children(process.pid)]
        process.send_signal(signal.SIGKILL)
    assert loaders
    for loader in loaders:  # they were orphans that waited for ever
        assert select.select([loader], [], [], 60)[0], "a loader process outlives the run"
        os.close(loader)
    return int(read_archive(out / "state.npz")[0]["step"])


@pytest.mark.timeout(3 * DEADLINE)
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    synthesize(tmp_path / "drawn", frames=3, width=96, height=64, seed=1, created_at=date)
    finish(tmp_path / "whole")
    step = kill_after_first_save(tmp_path / "killed")
    assert 0 < step < 12
    lines = finish(tmp_path / "killed")
    assert not any(line.startswith("images") for line in lines)  # the pool was there already
    whole, record = (
        read_archive(tmp_path / "whole" / "checkpoint.npz")[1],
        json.loads((tmp_path / "killed" / "training.json").read_text()),
    )
    resumed = read_archive(tmp_path / "killed" / "checkpoint.npz")[1]
    assert record["steps_done"] == 12
    assert [entry["step"] for entry in record["figures"]] == [4, 8, 12]
    assert all({"loss", "drawn_ap50", "drawn_ap75"} <= entry.keys() for entry in record["figures"])
    early = read_archive(tmp_path / "whole" / "state.npz")[1]
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        np.testing.assert_allclose(resumed[key], value, atol=2e-4, err_msg=key)
    # The checkpoint holds the moving average and not the weights of the last step.
    assert any(np.abs(early[key] - value).max() > 1e-3 for key, value in whole.items() if key.endswith("kernel"))


def test_run_is_not_resumed_with_other_options(tmp_path: Path) -> None:
    options = synthetic_options(tmp_path)
    record = {"options": options.to_json(), "data": []}
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="other options"):
        train(dataclasses.replace(options, seed=1), lambda _: None)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match="not the record"):
        train(options, lambda _: None)


@pytest.mark.parametrize(
    ("steps", "done", "wanted", "message"),
    [
        (100, 80, 200, None),
        (100, 80, 100, None),
        (100, 90, 100, None),
        (100, 40, 50, None),
        (100, 41, 50, "has done 41 steps; give at least 51,"),
        (100, 81, 200, "of 100 steps in its cooldown; give --steps 100"),
    ],
)
def test_the_number_of_steps_may_change_until_the_learning_rate_falls(
    tmp_path: Path, steps: int, done: int, wanted: int, message: str | None
) -> None:
    options = dataclasses.replace(synthetic_options(tmp_path), steps=steps)
    (tmp_path / "training.json").write_text(
        json.dumps({"options": options.to_json(), "data": [], "steps_done": done, "steps": steps})
    )
    now = {"options": dataclasses.replace(options, steps=wanted).to_json(), "data": []}
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        refuse_other_run(tmp_path / "training.json", now)


def thin_config(
    name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None
) -> EfficientDetConfig:
    """Return a network of the same make, but thin and shallow: a step takes a moment."""
    return dataclasses.replace(
        config_for(name, labels=labels, anchor_scale=anchor_scale, input_size=input_size or 64),
        width_coefficient=0.25,
        depth_coefficient=0.5,
        bifpn_width=8,
        bifpn_repeats=1,
        head_repeats=1,
    )


def synthetic_options(out: Path) -> TrainingOptions:
    return TrainingOptions(sets=(), labels=("bee",), out=out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peak_learning_rate": 0.0}, "peak learning rate 0.0"),
        ({"frozen_stages": 8}, "frozen stages 8"),
        ({"synthetic": 1.5}, "synthetic 1.5"),
        ({"synthetic": 0.8, "pasted": 0.3}, "pasted 0.3: give a number from 0 to 0.2"),
        ({"scenes": -1}, "scenes -1"),
        ({"workers": 0}, "workers 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"steps": 0}, "steps 0"),
        ({"minutes": 0.0}, "minutes 0.0"),
        ({"input_size": (32, 320)}, "size 32x320"),
        ({"image_size": (320, 4096)}, "size 320x4096"),
        ({"input_size": (640, 360)}, "--input-size is 640x360: .* give 640x352 or 640x384"),
        ({"precision": "float16"}, "precision 'float16': choose one of auto, float32, bfloat16"),
        ({"augmentation": "mild"}, "augmentation 'mild': choose one of full, none"),
        ({"augmentation": "none"}, "augmentation none does not paste cut-outs"),
        ({"scenes": 0}, "there is no training data: give a dataset"),
        ({"labels": ("wasp",)}, "there is no training data: give a dataset"),
        ({"backbone_weights": Path("a"), "warm_start": Path("b")}, "one of them"),
    ],
)
def test_options_out_of_range_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(synthetic_options(tmp_path), **changes)  # type: ignore[arg-type]  # that is the point


def test_validation_datasets_have_boxes_and_names_of_their_own(tmp_path: Path) -> None:
    options = synthetic_options(tmp_path)
    dataset = one_image(tmp_path, ("bee", "wasp"))
    empty = dataclasses.replace(dataset.images[0], boxes=np.zeros((0, 4), np.float32), class_ids=np.zeros(0, np.int64))
    with pytest.raises(InputError, match="more than one dataset has the name 'one'"):
        dataclasses.replace(options, validation=(dataset, dataset))
    with pytest.raises(InputError, match="more than one dataset has the name 'train'"):
        dataclasses.replace(options, validation=(dataclasses.replace(dataset, name="train"),))
    with pytest.raises(InputError, match="validation dataset one: no image has a box"):
        dataclasses.replace(options, validation=(dataclasses.replace(dataset, images=(empty,)),))


@pytest.mark.parametrize("changes", [{"weight": 2.0}, {"ignored_border": (0.0, 0.1, 0.0, 0.0)}, {"cutouts": False}])
def test_a_dataset_with_other_options_is_another_run(tmp_path: Path, changes: dict[str, object]) -> None:
    part = TrainingSet(dataset=one_image(tmp_path, ("bee", "wasp")))
    first = dataclasses.replace(synthetic_options(tmp_path), sets=(part,))
    other = dataclasses.replace(part, **changes)  # type: ignore[arg-type]  # values of several types
    second = dataclasses.replace(first, sets=(other,))
    assert json.dumps(first.to_json()) != json.dumps(second.to_json())


def one_image(folder: Path, labels: tuple[str, ...]) -> Dataset:
    path = folder / "a.jpg"
    path.write_bytes(b"content")
    boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
    return Dataset(name="one", images=(LabelledImage(path, 8, 8, boxes, np.array([0, 1])),), labels=labels)


def test_classes_are_found_by_name(tmp_path: Path) -> None:
    renumbered = with_labels(one_image(tmp_path, ("wasp", "bee")), ("bee", "hornet", "wasp"))
    assert renumbered.images[0].class_ids.tolist() == [2, 0]
    with pytest.raises(InputError, match="'wasp'"):
        with_labels(one_image(tmp_path, ("wasp", "bee")), ("bee",))


def test_another_image_or_label_is_another_dataset(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, ("bee", "wasp"))
    (first,) = describe_datasets((dataset,))
    assert (first["images"], first["boxes"]) == (1, 2)
    moved = dataclasses.replace(dataset.images[0], boxes=dataset.images[0].boxes + 1)
    assert describe_datasets((dataclasses.replace(dataset, images=(moved,)),))[0]["sha256"] != first["sha256"]
    (tmp_path / "a.jpg").write_bytes(b"Content")
    assert describe_datasets((dataset,))[0]["sha256"] != first["sha256"]


class Interrupted(Exception):  # noqa: N818 - not an error
    """Regression: a run was stopped as soon as it had done enough steps."""


def test_backbone_factor_0_leaves_the_backbone_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the backbone was trained at the rate of the heads, and lost its ImageNet features."""
    monkeypatch.setattr(detector_model, "config_for", thin_config)
    networks = []
    for steps in (1, 3):
        options = dataclasses.replace(
            synthetic_options(tmp_path / str(steps)),
            input_size=(64, 64), batch_size=1, scenes=2, backgrounds=0, synthetic=1.0, pasted=0.0, steps=steps,
            validate_every=0, backbone_factor=0.0,
        )  # fmt: skip
        network, _, _ = load_checkpoint(train(options, lambda _: None))
        networks.append(network)
    after_one, after_three = ([np.array(weight) for weight in _backbone(network)] for network in networks)
    assert len(after_one) > 10
    assert all(np.array_equal(*pair) for pair in zip(after_one, after_three, strict=True))
    heads = [[np.array(v) for v in network.trainable_variables if v.path.startswith("box_")] for network in networks]
    assert not all(np.array_equal(*pair) for pair in zip(*heads, strict=True))


def _backbone(network: Any) -> list[Any]:  # noqa: ANN401 - Keras ships no types
    return [weight for layer in backbone_layers(network) for weight in layer.weights]


def test_minutes_set_the_steps_once_and_resume_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_model, "config_for", thin_config)
    monkeypatch.setattr(run, "_TIMED_STEPS", (1, 3))
    monkeypatch.setattr(run, "_REPORT_EVERY", 1)
    options = dataclasses.replace(
        synthetic_options(tmp_path / "run"),
        input_size=(64, 64), batch_size=1, scenes=2, backgrounds=0, synthetic=1.0, pasted=0.0, minutes=10.0,
        validate_every=0, save_every=4,
    )  # fmt: skip
    reported: dict[int, int] = {}

    def stop_after(step: int) -> Callable[[TrainingProgress], None]:
        def report(progress: TrainingProgress) -> None:
            if progress.stage == "steps":
                reported[progress.done] = progress.total
                if progress.done == step:
                    raise Interrupted

        return report

    with pytest.raises(Interrupted):
        train(options, stop_after(6))
    decided = reported[3]
    assert decided > 6
    assert reported == {1: options.steps, 2: options.steps, 3: decided, 4: decided, 5: decided, 6: decided}
    assert json.loads((options.out / "training.json").read_text())["steps"] == decided
    reported.clear()
    # Time has passed and the speed may be another one: neither is asked about again.
    with pytest.raises(Interrupted):
        train(options, stop_after(8))
    assert reported == {5: decided, 6: decided, 7: decided, 8: decided}


def test_a_run_resumed_with_fewer_steps_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_model, "config_for", thin_config)
    monkeypatch.setattr(run, "_REPORT_EVERY", 1)
    options = dataclasses.replace(
        synthetic_options(tmp_path / "run"),
        input_size=(64, 64), batch_size=1, scenes=2, backgrounds=0, synthetic=1.0, pasted=0.0, steps=1000,
        warmup_steps=1, validate_every=0, save_every=2,
    )  # fmt: skip
    rates: list[float] = []

    def report(progress: TrainingProgress) -> None:
        if progress.stage == "steps":
            rates.append(progress.figures["learning_rate"])
            if len(rates) == 5:
                raise Interrupted

    with pytest.raises(Interrupted):
        train(options, report)
    rates.clear()
    train(dataclasses.replace(options, steps=6), report)  # from step 4 on
    np.testing.assert_allclose(rates, [0.03, 0.0003])  # the learning rate falls over the last fifth
    assert json.loads((options.out / "training.json").read_text())["steps_done"] == 6


def test_a_run_of_minutes_resumed_before_its_speed_was_known_measures_it_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_TIMED_STEPS", (2, 4))
    options = dataclasses.replace(synthetic_options(tmp_path), minutes=10.0)
    resumed = object.__new__(run._Run)
    resumed.options, resumed.record, resumed._first, resumed.started = options, {"steps": None}, 3, 0.0
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    for step in range(4, 9):
        resumed._measure_speed(step)
    # A second a step, and of ten minutes less a twenty-fifth, twelve seconds are over.
    assert resumed.record["steps"] == 7 + int(600 * 0.96 - 12)
