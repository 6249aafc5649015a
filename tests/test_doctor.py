"""The doctor says of each part whether it works, by trying it."""

from pathlib import Path

import pytest
from beeagent_process import run_beeagent, tiny_model
from mosquitto import Mosquitto, free_port


def _verdicts(printed: str) -> dict[str, str]:
    lines = [line.split(maxsplit=2) for line in printed.splitlines()[:-1]]
    return {part: verdict for verdict, part, *_ in lines}


def test_all_is_well_with_the_shipped_model_and_a_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    ended = run_beeagent(
        "doctor", "--camera", "synthetic:320x240", "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path
    )
    assert ended.returncode == 0, ended.stdout
    assert _verdicts(ended.stdout) == {"model": "ok", "camera": "ok", "broker": "ok", "state": "ok"}
    assert "320x240" in ended.stdout
    assert ended.stdout.endswith("Nothing is wrong.\n")


@pytest.mark.parametrize("part", ["model", "camera", "broker", "state"])
def test_what_is_broken_is_named_and_the_rest_still_checked(part: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    options: dict[str, list[str]] = {
        "model": ["--model", str(tmp_path / "absent")],
        "camera": ["--camera", "/dev/video99"],
        "broker": ["--broker", f"mqtt://127.0.0.1:{free_port()}"],
    }
    chosen = options.get(part, [])
    if part != "model":
        chosen += map(str, tiny_model(tmp_path))
    if part != "broker":
        chosen += ["--broker", "none"]
    folder = tmp_path if part == "state" else tmp_path / "elsewhere"
    ended = run_beeagent("doctor", *chosen, folder=folder)
    verdicts = _verdicts(ended.stdout)
    assert ended.returncode == 1
    assert [name for name, verdict in verdicts.items() if verdict == "WRONG"] == [part]
    assert set(verdicts) == {"model", "camera", "broker", "state"}
    assert "Traceback" not in ended.stderr
