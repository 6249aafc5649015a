import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.datasets.synthesize import synthesize
from typer import Typer
from typer.testing import CliRunner, Result

pytest.importorskip("keras")

from beeagent_models.efficientdet import EfficientDetConfig, config_for
from beeagent_models.training import network
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator


def thin(name: str, *, labels: tuple[str, ...], anchor_scale: float, input_size: int | None) -> EfficientDetConfig:
    """Give a network of the same make, but thin and shallow: a step takes milliseconds."""
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
    return synthesize(tmp_path / "drawn", frames=4, width=96, height=96, seed=1, created_at=date)


@pytest.mark.timeout(600)  # compiling the network takes its time on a busy machine
def test_options_reach_the_run_and_its_record(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "config_for", thin)
    out = tmp_path / "run"
    result = train(
        "--data", drawn, "--out", out, "--labels", "bee, wasp", "--phase", "64:2:3",
        "--scenes", "3", "--grounds", "2", "--synthetic", "0.5", "--ignored-border", "0,0.1,0,0.2",
        "--held-back", "0", "--seed", "9", "--learning-rate", "0.001", "--frozen-stages", "3", "--blue-ground",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out / 'checkpoint.npz'}\n"
    assert (out / "checkpoint.npz").stat().st_size > 1000
    events = EventAccumulator(str(out / "events"), {TENSORS: 0})
    events.Reload()
    assert {"loss", "box", "class", "learning_rate", "images_per_second"} <= set(events.Tags()[TENSORS])
    assert [event.step for event in events.Tensors("loss")] == [3]
    record = json.loads((out / "training.json").read_text())
    assert record["command"].startswith("beeagent ")
    assert record["steps_done"] == 3
    assert [(data["name"], data["images"]) for data in record["data"]] == [("drawn", 4)]
    options = record["options"]
    assert options["labels"] == ["bee", "wasp"]
    assert options["phases"] == [{"size": 64, "batch_size": 2, "steps": 3}]
    assert options["ignored_border"] == [0, 0.1, 0, 0.2]
    given = {key: options[key] for key in ("scenes", "grounds", "synthetic_fraction", "held_back", "seed")}
    assert given == {"scenes": 3, "grounds": 2, "synthetic_fraction": 0.5, "held_back": 0, "seed": 9}
    assert options["blue_ground"] is True
    assert (options["learning_rate"], options["frozen_stages"], options["model"]) == (0.001, 3, "lite0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: there is no such file or folder"),
        (["--data", "=bee"], "does not name a data set"),
        (["--phase", "192:8"], "write SIZE:BATCH:STEPS"),
        (["--phase", "192:8:x"], "write SIZE:BATCH:STEPS"),
        (["--phase", "8:8:8"], "at least 64 pixels"),
        (["--ignored-border", "0.1"], "write four ratios"),
        (["--ignored-border", "0,0,0,x"], "write four ratios"),
        (["--ignored-border", "0,0,0,0.9"], "ignored border 0.9"),
        (["--labels", "bee,,wasp"], "write names with commas between"),
        (["--labels", "bee,bee"], "write names with commas between, each once"),
        (["--synthetic", "1.5"], "synthetic fraction 1.5"),
        (["--scenes", "0"], "data sets: give at least one"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(*arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
