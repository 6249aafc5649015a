import dataclasses
import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.datasets.synthesize import synthesize
from typer import Typer
from typer.testing import CliRunner, Result

pytest.importorskip("keras")

from beeagent_models.efficientdet.config import EfficientDetConfig, config_for
from beeagent_models.training import detector_model
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

pytestmark = pytest.mark.training


def thin(name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None) -> EfficientDetConfig:
    """Return a network of the same make, but thin and shallow: a step takes milliseconds."""
    return dataclasses.replace(
        config_for(name, labels=labels, anchor_scale=anchor_scale, input_size=input_size or 64),
        width_coefficient=0.25,
        depth_coefficient=0.5,
        bifpn_width=8,
        bifpn_repeats=1,
        head_repeats=1,
    )


def train(*arguments: str | Path) -> Result:
    """Run `beeagent train`; a user's mistake comes out as its InputError."""
    app = Typer(pretty_exceptions_enable=False)
    app.command()(cli.train)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    return synthesize(tmp_path / "drawn", frames=6, width=128, height=96, seed=1, created_at=date)


@pytest.mark.timeout(600)  # compiling the network takes its time on a busy machine
def test_options_reach_the_run_and_its_record(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_model, "config_for", thin)
    out = tmp_path / "run"
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    synthesize(tmp_path / "held-back", frames=2, width=96, height=64, seed=2, created_at=date)
    result = train(
        "--data", f"{drawn}@2.5", "--validate", tmp_path / "held-back", "--out", out, "--labels", "bee, wasp",
        "--input-size", "128x96", "--image-size", "64", "--batch-size", "2", "--steps", "3", "--scenes", "3",
        "--backgrounds", "2", "--synthetic", "0.5", "--pasted", "0.25", "--seed", "9", "--peak-learning-rate", "0.01",
        "--backbone-factor", "0.5", "--frozen-stages", "3", "--validate-every", "2", "--precision", "float32",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out / 'checkpoint.npz'}\n"
    assert (out / "checkpoint.npz").stat().st_size > 1000
    assert re.search(
        r"^step 2/3 .*  train ap50 \S+  train ap75 \S+  held-back ap50 \S+  held-back ap75 \S+$",
        result.stderr,
        re.MULTILINE,
    )
    events = EventAccumulator(str(out / "events"), {TENSORS: 0})
    events.Reload()
    tags = {"loss", "box", "class", "learning_rate", "images_per_second", "train_ap50", "held-back_ap75"}
    assert tags <= set(events.Tags()[TENSORS])
    assert [event.step for event in events.Tensors("loss")] == [2, 3]
    record = json.loads((out / "training.json").read_text())
    assert record["command"].startswith("beeagent")
    assert record["steps_done"] == record["steps"] == 3
    assert [(data["name"], data["images"]) for data in record["data"]] == [("drawn", 6)]
    options = record["options"]
    assert options["labels"] == ["bee", "wasp"]
    assert (options["input_size"], options["image_size"], options["batch_size"]) == ([128, 96], [64, 64], 2)
    assert [(part["dataset"], part["weight"]) for part in options["sets"]] == [("drawn", 2.5)]
    given = {key: options[key] for key in ("scenes", "backgrounds", "synthetic", "pasted", "seed", "backbone_factor")}
    assert given == {
        "scenes": 3, "backgrounds": 2, "synthetic": 0.5, "pasted": 0.25, "seed": 9, "backbone_factor": 0.5
    }  # fmt: skip
    assert (options["peak_learning_rate"], options["frozen_stages"], options["model"]) == (0.01, 3, "lite0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: there is no such file or folder"),
        (["--data", "=bee"], "is not a dataset"),
        (["--validate", "nowhere"], "nowhere: there is no such file or folder"),
        (["--data", "bees@many"], "data 'bees@many': 'many' is not a weight; give PATH@WEIGHT"),
        (["--data", "bees@0"], "data 'bees@0': weight 0: give a number above 0"),
        (["--data", "nowhere.toml"], "mixture nowhere.toml: No such file"),
        (["--input-size", "320:192"], "--input-size is '320:192': give WIDTHxHEIGHT"),
        (["--image-size", "x"], "--image-size is 'x': give WIDTHxHEIGHT"),
        (["--input-size", "8"], "--input-size is '8': allowed are 64 to 2048 pixels"),
        (["--minutes", "0"], "minutes 0.0: give a number from 0.1"),
        (["--precision", "half"], "precision 'half': choose one of auto, float32, bfloat16"),
        (["--labels", "bee,,wasp"], "give names separated by commas"),
        (["--labels", "bee,bee"], "give names separated by commas, without duplicates"),
        (["--synthetic", "1.5"], "synthetic 1.5"),
        (["--scenes", "0"], "there is no training data: give a dataset"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(*arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--data", "--validate"])
def test_an_attribute_that_a_manifest_does_not_have_is_refused(drawn: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="wasps"):
        train(option, drawn, "--attribute", "wasps", "--out", tmp_path / "run")
