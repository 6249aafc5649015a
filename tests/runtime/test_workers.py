"""`--threads auto` and `--workers auto`: measured at the first start, kept in the state directory, and shown."""

import json
import os
import threading
from pathlib import Path

import beeagent.runtime.workers
import pytest
from beeagent.detection import ModelBundle
from beeagent.runtime import Agent, choose_workers
from beeagent.runtime.reload import Reload
from beeagent.runtime.workers import WorkerChoice
from beeagent.settings import Settings, load_settings
from hypothesis import given
from hypothesis import strategies as st
from support.beeagent_process import run_beeagent, tiny_bare_model, tiny_model
from support.memory_bundle import bundle_of
from support.tiny_models import square_finder


def settings_in(folder: Path, **options: object) -> Settings:
    return load_settings(
        {"state_dir": folder, "device": "hive", "camera_name": "front", "threads": 2, "workers": "auto", **options},
        config=None,
    )


def choice_of(rates: dict[int, float]) -> WorkerChoice:
    return choice_of_threads({4: rates})


def choice_of_threads(rates: dict[int, dict[int, float]]) -> WorkerChoice:
    wanted = (4 if set(rates) == {4} else "auto", "auto")
    return WorkerChoice(model="m@12345678", runtime="ai_edge_litert", cores=4, wanted=wanted, frames_per_s=rates)


@pytest.mark.parametrize(
    ("rates", "workers"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 17.0, 4: 20.0}, 4),
        ({1: 10.0, 2: 19.5, 4: 20.0}, 2),
        ({1: 20.0, 2: 15.0, 4: 10.0}, 1),
    ],
)
def test_fewest_workers_with_almost_the_best_rate_are_chosen(rates: dict[int, float], workers: int) -> None:
    assert choice_of(rates).workers == workers


@pytest.mark.parametrize(
    ("rates", "threads", "workers"),
    [
        ({1: {1: 10.0}, 2: {1: 15.0, 2: 19.0}, 4: {1: 22.0, 2: 30.0, 4: 38.0}}, 4, 4),
        (
            {1: {1: 10.0}, 2: {1: 15.0, 2: 19.0}, 4: {1: 16.0, 2: 19.5, 4: 20.0}},
            2,
            2,
        ),  # SMT
        ({1: {1: 10.0}, 2: {1: 10.2, 2: 9.0}}, 1, 1),
    ],
)
def test_fewest_threads_with_almost_the_best_rate_are_chosen(
    rates: dict[int, dict[int, float]], threads: int, workers: int
) -> None:
    choice = choice_of_threads(rates)
    assert (choice.threads, choice.workers) == (threads, workers)
    assert f"{workers} frame(s) in parallel on {threads} thread(s)" in str(choice)
    assert "10.0 with 1 on 1, " in str(choice)


@given(rates=st.dictionaries(st.integers(1, 8), st.floats(0.01, 1e5), min_size=1))
def test_chosen_workers_were_measured_and_are_nearly_the_fastest(rates: dict[int, float]) -> None:
    choice = choice_of(rates)
    assert rates[choice.workers] >= 0.95 * max(rates.values())
    assert WorkerChoice.model_validate_json(choice.model_dump_json()) == choice


def test_choice_is_kept_until_model_or_threads_change(tmp_path: Path) -> None:
    bundle = bundle_of(square_finder(classes=3))
    first = choose_workers(settings_in(tmp_path), bundle)
    assert set(first.frames_per_s[2]) == {1, 2}
    assert choose_workers(settings_in(tmp_path), bundle) == first  # the very same rates: read, not measured
    other = choose_workers(settings_in(tmp_path), bundle_of(square_finder(cells=(4, 4), classes=3)))
    assert other.model != first.model
    assert set(choose_workers(settings_in(tmp_path, threads=3), bundle).frames_per_s[3]) == {1, 3}


@pytest.mark.parametrize(
    ("workers", "cores", "measured"),
    [
        (None, 4, {1: {1}, 2: {1, 2}, 4: {1, 2, 4}}),
        ("auto", 6, {1: {1}, 2: {1, 2}, 4: {1, 2, 4}, 6: {1, 2, 3, 6}}),
        (2, 4, {2: {2}, 4: {2}}),
        (3, 2, {3: {3}}),
    ],
)
def test_threads_are_measured_up_to_the_cores(
    workers: int | str | None,
    cores: int,
    measured: dict[int, set[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(beeagent.runtime.workers, "_MEASURE_S", 0.01)
    settings, bundle = settings_in(tmp_path, threads="auto", workers=workers), bundle_of(square_finder(classes=3))
    choice = choose_workers(settings, bundle)
    assert {threads: set(rates) for threads, rates in choice.frames_per_s.items()} == measured
    assert choose_workers(settings, bundle) == choice
    assert choose_workers(settings.replace(threads=2, workers="auto"), bundle).frames_per_s.keys() == {2}


@pytest.mark.parametrize("content", ["", "{", '{"workers": 2}', '{"frames_per_s": {}}'])
def test_damaged_choice_is_measured_again(content: str, tmp_path: Path) -> None:
    file = tmp_path / "hive-front.workers.json"
    file.write_text(content, encoding="utf-8")
    choice = choose_workers(settings_in(tmp_path, threads=1), bundle_of(square_finder(classes=3)))
    assert choice.workers == 1
    assert WorkerChoice.model_validate_json(file.read_bytes()) == choice


def test_choice_that_cannot_be_kept_is_still_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    assert choose_workers(settings_in(tmp_path / "state", threads=1), bundle_of(square_finder(classes=3))).workers == 1
    assert "the next start measures again" in caplog.text


def test_measurement_ends_when_the_agent_is_stopped(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    choice = choose_workers(settings_in(tmp_path, threads=4), bundle_of(square_finder(classes=3)), stopping=stopping)
    assert choice.workers == 1
    assert not list(tmp_path.iterdir())


def test_agent_runs_with_the_kept_choice_and_reports_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, camera="synthetic:64x48?live=no&frames=5", broker="none", publish="always")
    bundle = bundle_of(square_finder(classes=3))
    kept = choose_workers(settings, bundle)
    file = tmp_path / "hive-front.workers.json"
    for workers in (1, 2):
        rates = {2: {1: 10.0, 2: 10.0 * workers}}
        file.write_text(kept.model_copy(update={"frames_per_s": rates}).model_dump_json(), encoding="utf-8")
        agent = Agent(settings, bundle=bundle, outbox_path=None)
        agent.run()
        assert agent.health.frames == 5
        status = json.loads(agent.health.status())
        assert (status["workers"], status["threads"]) == (workers, 2)
    agent = Agent(settings.replace(workers=2), bundle=bundle, outbox_path=None)
    agent.close()
    assert "workers" not in json.loads(agent.health.status())


def test_reload_leaves_the_measured_workers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (_, model, _, labels) = tiny_bare_model(tmp_path)
    settings = settings_in(tmp_path, camera="synthetic:64x48", broker="none", model=model, labels=labels)
    agent = Agent(settings, bundle=ModelBundle.load(model, labels=labels), outbox_path=None, load=lambda: settings)
    try:
        reload: Reload = agent.reload
        reload.request()
        reload.start_if_requested()
        reload.join(30)
    finally:
        agent.close()
    assert "take effect when the agent is restarted" not in caplog.text
    assert not agent.problems.current()
    assert reload.settings.model.workers in {1, 2}


def test_agent_runs_with_measured_threads(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        camera="synthetic:64x48?live=no&frames=5",
        broker="none",
        publish="always",
        threads="auto",
        workers=None,
    )
    agent = Agent(settings, bundle=bundle_of(square_finder(classes=3)), outbox_path=None)
    agent.run()
    kept = WorkerChoice.model_validate_json((tmp_path / "hive-front.workers.json").read_bytes())
    status = json.loads(agent.health.status())
    assert (status["workers"], status["threads"]) == (kept.workers, kept.threads)
    assert agent.health.frames == 5


def test_doctor_measures_and_shows_the_choice(tmp_path: Path) -> None:
    options = [*tiny_model(tmp_path), "--broker", "none", "--threads", "2", "--workers", "auto"]
    printed = [run_beeagent("doctor", *options, folder=tmp_path).stdout for _ in range(2)]
    lines = [next(line for line in text.splitlines() if " workers " in line) for text in printed]
    assert "frame(s) in parallel on 2 thread(s); frames/s measured: " in lines[0]
    assert lines[0] == lines[1]
    without = run_beeagent("doctor", *options[:-2], folder=tmp_path).stdout
    assert " workers " not in without


def test_doctor_measures_threads(tmp_path: Path) -> None:
    options = [*tiny_model(tmp_path), "--broker", "none", "--threads", "auto"]
    printed = run_beeagent("doctor", *options, folder=tmp_path).stdout
    line = next(line for line in printed.splitlines() if " workers " in line)
    assert "frames/s measured: " in line
    if (os.cpu_count() or 1) > 1:
        assert " with 1 on 1, " in line
