"""`beeagent demo` and `beeagent bench`, which run the whole agent."""

import json
import re
from pathlib import Path

import pytest
from beeagent import Settings
from beeagent.cli.bench import measure
from support.beeagent_process import run_beeagent, tiny_bare_model, tiny_model


def test_demo_prints_detections_received_over_mqtt(tmp_path: Path) -> None:
    pytest.importorskip("amqtt", reason="the demo's broker is an extra")
    ended = run_beeagent("demo", "--frames", "12", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    shown = [line for line in ended.stdout.splitlines() if "/demo #" in line]
    assert len(shown) == 12
    assert sum(" bee " in line for line in shown) > 6


def test_bench_measures_agent_and_bare_model(tmp_path: Path) -> None:
    ended = run_beeagent(
        "bench", *tiny_model(tmp_path), "--camera", "synthetic:320x240?live=no", "--seconds", "1.5", "--threads", "1",
        "--json", folder=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["frame"] == [320, 240]
    assert report["frames"] > 0
    assert report["inferences_per_frame"] == 1
    assert report["ratio"] == pytest.approx(report["agent_fps"] / report["bare_fps"], rel=0.5)
    assert report["peak_memory_mb"] > 10
    assert report["advice"] is None
    text = run_beeagent(
        "bench", *tiny_model(tmp_path), "--camera", "synthetic:320x240?live=no", "--seconds", "1.5", folder=tmp_path
    ).stdout
    assert "whole agent" in text


@pytest.mark.parametrize(("regions", "least", "most"), [(False, 5, 5), (True, 0.1, 3.1)])
def test_bench_counts_the_inferences_of_tiles_and_regions(
    regions: bool,  # noqa: FBT001 - a parameter of the test
    least: float,
    most: float,
    tmp_path: Path,
) -> None:
    _, model, _, labels = map(Path, tiny_bare_model(tmp_path))
    settings = Settings().replace(
        camera="synthetic:320x240?live=no&bees=2-2", model=model, labels=labels, tiles="2x2", regions=regions, threads=1
    )
    report = measure(settings, seconds=1)
    assert least <= report["inferences_per_frame"] <= most
    assert report["ratio"] == pytest.approx(report["agent_fps"] / report["bare_fps"], rel=0.5)
    assert report["bare_ms"] == pytest.approx(1000 / report["bare_fps"], rel=0.1)


def test_bench_names_the_bundled_model_that_fits(tmp_path: Path) -> None:
    camera = "synthetic:640x360?live=no&bees=14-14"
    ended = run_beeagent("bench", "--camera", camera, "--seconds", "1.5", "--threads", "1", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert re.search(
        r"^Model for this camera: bees are about [0-9]+ px at 320x320.*: (keep|take) bees-lite0",
        ended.stdout,
        re.MULTILINE,
    )


def test_bench_refuses_a_single_frame(tmp_path: Path) -> None:
    ended = run_beeagent(
        "bench", *tiny_model(tmp_path), "--camera", "synthetic:64x48?live=no&frames=1", folder=tmp_path
    )
    assert ended.returncode == 2
    assert "too few frames" in ended.stderr
