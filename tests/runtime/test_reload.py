"""A new model replaces the old one between two frames, or the old one stays and the reason is reported."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
from beeagent import Settings
from beeagent.detection import DetectorPool, ModelBundle
from beeagent.runtime.reload import Reload
from beeagent.runtime.threshold import PageThreshold
from support.beeagent_process import running_agent, tiny_bare_model
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.tiny_models import square_finder


def _config(folder: Path, model: Path, labels: Path, **more: str) -> Path:
    path = folder / "beeagent.toml"
    lines = {"model": str(model), "labels": str(labels), **more}
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()), encoding="utf-8")
    return path


def test_sighup_reloads_model_without_gap_and_keeps_old_one_on_failure(mosquitto: Mosquitto, tmp_path: Path) -> None:
    _, model, _, labels = map(Path, tiny_bare_model(tmp_path))
    other = tmp_path / "other.tflite"
    other.write_bytes(square_finder(cells=(4, 4)))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model.read_bytes()[: len(model.read_bytes()) // 2])
    config = _config(tmp_path, model, labels)
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--config", config, "--camera", "synthetic:320x240@30", "--publish", "always", "--broker",
            f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as agent,
    ):  # fmt: skip

        def newest(topic_end: str) -> dict[str, Any]:
            payloads = subscribed.payloads(topic_end)
            message: dict[str, Any] = json.loads(payloads[-1]) if payloads else {"reasons": [], "state": None}
            return message

        def status_says(words: str) -> bool:
            return any(words in str(reason) for reason in newest("/status")["reasons"])

        subscribed.wait_for(3, topic_end="/detections")
        assert str(newest("/detections")["model"]).startswith("tiny@")

        _config(tmp_path, broken, labels)
        agent.process.send_signal(signal.SIGHUP)
        subscribed.wait_until(lambda: status_says("broken.tflite"))
        assert newest("/status")["state"] == "degraded"
        assert str(newest("/status")["model"]).startswith("tiny@")

        _config(tmp_path, model, labels, treshold="0.5")
        agent.process.send_signal(signal.SIGHUP)
        subscribed.wait_until(lambda: status_says("treshold"))

        _config(tmp_path, other, labels)
        agent.process.send_signal(signal.SIGHUP)
        subscribed.wait_until(lambda: str(newest("/detections")["model"]).startswith("other@"))
        subscribed.wait_until(lambda: newest("/status")["state"] == "online")
        assert str(newest("/status")["model"]).startswith("other@")

        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
        subscribed.wait_until(lambda: newest("/status")["state"] == "offline")
        messages = [json.loads(payload) for payload in subscribed.payloads("/detections")]
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert {message["model"].partition("@")[0] for message in messages} == {"tiny", "other"}


def test_settings_that_need_a_restart_are_logged(tmp_path: Path) -> None:
    _, model, _, labels = map(Path, tiny_bare_model(tmp_path))
    config = _config(tmp_path, model, labels)
    with running_agent(
        "--config", config, "--camera", "synthetic:320x240@30", "--publish", "always", "--broker", "none", "--stdout",
        folder=tmp_path,
    ) as agent:  # fmt: skip
        agent.messages(1)
        _config(tmp_path, model, labels, topic_prefix="elsewhere")
        agent.process.send_signal(signal.SIGHUP)
        while not any("changes of topic_prefix take effect when the agent is restarted" in e for e in agent.errors):
            agent.messages(1)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0


class _Swapped:
    """Stands in for a pipeline: keeps the model that it gets."""

    def __init__(self) -> None:
        self.models: list[DetectorPool] = []

    def swap(self, model: DetectorPool) -> None:
        self.models.append(model)

    @property
    def detectors(self) -> DetectorPool:
        return self.models[-1]

    def costs(self) -> list[int]:
        """Return the number of inferences of each of 20 equal frames, at 10 frames/s, with the newest model."""
        white = np.full((240, 320, 3), 255, dtype=np.uint8)
        frames = [self.models[-1].prepare(white, at=index / 10) for index in range(20)]
        return [len(self.models[-1].choose_regions(frame).layout.regions) for frame in frames]


def test_changed_regions_and_inference_rate_take_effect_without_restart(tmp_path: Path) -> None:
    _, model, _, labels = map(Path, tiny_bare_model(tmp_path))
    settings = Settings().replace(camera="synthetic:320x240", model=model, labels=labels, tiles="2x2", threads=1)
    pipeline, problems = _Swapped(), list[str | None]()
    wanted = settings
    reload = Reload(
        settings,
        bundle=ModelBundle.load(model, labels=labels),
        load=lambda: wanted,
        pipeline=pipeline,  # type: ignore[arg-type]
        on_problem=problems.append,
        threshold=PageThreshold(None),
    )

    def reloaded() -> None:
        reload.request()
        reload.start_if_requested()
        reload.join(30)

    reloaded()
    assert pipeline.costs() == [5] * 20
    wanted = settings.replace(regions=True)
    reloaded()
    unlimited = pipeline.costs()
    assert unlimited[0] == 5
    assert sum(unlimited[2:]) < 20
    wanted = settings.replace(regions=True, max_inference_rate=1.0)
    reloaded()
    assert sum(pipeline.costs()) <= 3
    assert problems == [None, None, None]

    wanted = settings.replace(max_inference_rate=1.0)
    reloaded()
    assert "regions is off" in str(problems[-1])
    assert len(pipeline.models) == 3
    assert reload.settings.model.regions
