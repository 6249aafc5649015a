"""The examples and the Python code of the README, each run as a program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent import Detector, open_camera
from support.beeagent_process import environment, run_beeagent
from support.mosquitto import Mosquitto
from support.numbered_frames import write_video
from support.tiny_models import RED, painted, square_finder

REPOSITORY = Path(__file__).parents[2]
DEADLINE = 45.0


def run(program: list[str | Path], folder: Path, *, deadline: float = DEADLINE) -> list[str]:
    """Run a Python program in a folder and return its output's lines."""
    done = subprocess.run(
        [sys.executable, *map(str, program)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=deadline,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def example(name: str) -> Path:
    return REPOSITORY / "examples" / name


@pytest.fixture
def hive(tmp_path: Path) -> Path:
    """An image of bees."""
    with open_camera("synthetic:640x480?live=no&frames=1&seed=3") as frames:
        pixels = next(frames).pixels
    assert cv2.imwrite(str(tmp_path / "hive.jpg"), pixels)
    return tmp_path / "hive.jpg"


def test_every_example_is_in_the_table_and_in_a_test() -> None:
    scripts = {path.name for path in (REPOSITORY / "examples").glob("*.py")}
    table = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")
    assert scripts == set(re.findall(r"\]\((\w+\.py)\)", table))
    assert scripts == set(re.findall(r'example\("(\w+\.py)"\)', Path(__file__).read_text(encoding="utf-8")))


def test_bees_in_an_image(hive: Path) -> None:
    lines = run([example("detect_image.py"), hive.name], hive.parent)
    assert len(lines) == len(Detector.load().detect(hive)) > 0
    assert all(re.fullmatch(r"bee [01]\.\d\d at( [01]\.\d{3}){4}", line) for line in lines)


def test_camera_loop_counts_in_each_frame(tmp_path: Path) -> None:
    lines = run([example("camera_loop.py"), "synthetic:320x240?live=no", "--tiles", "2x1", "--frames", "3"], tmp_path)
    assert [re.fullmatch(r"[\d:]{8} frame (\d): \{.*\}", line)[1] for line in lines] == ["0", "1", "2"]  # type: ignore[index]


def test_own_model_finds_and_draws(tmp_path: Path) -> None:
    (tmp_path / "mine.tflite").write_bytes(square_finder())
    (tmp_path / "labels.txt").write_text("red\n", encoding="utf-8")
    image = painted((64, 64), {RED: (8, 16, 16, 24)})
    cv2.imwrite(str(tmp_path / "image.png"), image)
    lines = run(
        [example("own_model.py"), "mine.tflite", "image.png", "found.png", "--labels", "labels.txt"],
        tmp_path,
    )
    assert lines == ["mine.tflite detects red", "1 detections drawn in found.png"]
    drawn = cv2.imread(str(tmp_path / "found.png"))
    assert drawn is not None
    assert drawn.shape == image.shape
    assert np.any(drawn != image)


def test_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    lines = run([example("notebook.py")], tmp_path)
    assert lines[0] == "5 frames of 640x480"
    assert any(re.fullmatch(r"the same [1-9]\d* detections: True", line) for line in lines)
    assert sum(line.startswith("frame ") for line in lines) == 5
    assert lines[-1] == "drawn: (480, 640, 3)"


def test_counts_of_a_real_agent_are_plotted(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", example("plot_counts.py"), "--port", str(mosquitto.port), "--messages", "3"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as subscriber:
        try:
            assert subscriber.stdout is not None
            assert subscriber.stdout.readline() == "subscribed to beeagent/+/+/detections\n"
            ended = run_beeagent(
                *("--camera", "synthetic:640x480?live=no&seed=3", "--frames", "3", "--publish", "always"),
                *("--device", "hive-7", "--camera-name", "front", "--broker", f"mqtt://127.0.0.1:{mosquitto.port}"),
                folder=tmp_path,
            )
            assert ended.returncode == 0, ended.stderr
            output, _ = subscriber.communicate(timeout=DEADLINE)
        finally:
            subscriber.kill()
    bars = [re.fullmatch(r"[\d:]{8} hive-7/front bee +(\d+) (#+)", line) for line in output.splitlines()]
    assert len(bars) == 3
    assert all(bar is not None and int(bar[1]) == len(bar[2]) for bar in bars)


@pytest.mark.timeout(300)  # Ray starts processes of its own
def test_archive_on_ray_is_identical_to_one_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "recordings").mkdir()
    for number in range(3):
        write_video(tmp_path / "recordings" / f"{number}.mp4", 20 + number)
    arguments = [example("archive_ray.py"), "recordings", "on-ray", "--workers", "2", "--format", "csv"]
    lines = run(arguments, tmp_path, deadline=250)
    assert lines[0] == "3 of 3 videos are left"
    assert sorted(lines[1:]) == [f"{number}.mp4: 1 rows" for number in range(3)]
    assert run(arguments, tmp_path, deadline=250) == ["0 of 3 videos are left"]
    run(["-m", "beeagent", "archive", "recordings", "--out", "here", "--workers", "1"], tmp_path, deadline=100)
    on_ray, here = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("on-ray", "here"))
    assert on_ray == here


def test_python_of_the_readme_runs(hive: Path) -> None:
    section = (
        (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## From Python\n")[2].partition("\n## ")[0]
    )
    detect, camera = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(run(["-c", detect], hive.parent)) == len(Detector.load().detect(hive))
    assert "rtsp://camera.local/stream" in camera
    lines = run(["-c", camera.replace("rtsp://camera.local/stream", os.fspath(hive))], hive.parent)
    assert "{'bee': " in lines[0]
