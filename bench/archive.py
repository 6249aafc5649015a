"""Measure `beeagent archive` or its Ray example with 1 and with 2 worker processes, and the share of linear speed-up.

    .venv/bin/python bench/archive.py
    .venv/bin/python bench/archive.py --video hive.mp4 --copies 4 --rounds 3
    .venv/bin/python bench/archive.py --ray --seconds 300

Without --video, it draws a video of 1280x720 with the agent's synthetic scene. Each worker counts --copies copies of
the video. A run is a whole command, including loading the model in each worker, and with --ray the start of Ray, which
takes some seconds: use long videos. The results of all runs must be identical.

One worker is measured on one core and on all cores, because a worker decodes in a second thread. The share of linear
refers to the former: frames/s of n workers on n cores / (n x frames/s of one worker on one core).
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
from beeagent import open_camera

_RAY_EXAMPLE = Path(__file__).parents[1] / "examples" / "archive_ray.py"


def draw(path: Path, *, seconds: int) -> None:
    """Write a video of the synthetic scene, 1280x720 at 30 frames/s."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (1280, 720))
    with open_camera(f"synthetic:1280x720?live=no&frames={30 * seconds}&seed=1") as frames:
        for frame in frames:
            writer.write(frame.pixels)
    writer.release()


def run(folder: Path, out: Path, *, workers: int, cores: set[int], ray: bool) -> float:
    """Count the videos of a folder; return the frames per second."""
    command: list[str | Path] = (
        [str(_RAY_EXAMPLE), folder, out, "--format", "csv"]
        if ray
        else ["-m", "beeagent", "archive", folder, "--out", out]
    )
    confine: Callable[[], None] = lambda: os.sched_setaffinity(0, cores)  # noqa: E731 - for the type
    begin = time.perf_counter()
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, *command, "--workers", str(workers)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=confine,
    )
    seconds = time.perf_counter() - begin
    if ended.returncode:
        reason = ended.stderr.strip().rpartition("\n")[2] or f"ended with code {ended.returncode}"
        sys.exit(f"{'archive_ray.py' if ray else 'beeagent archive'}: {reason.removeprefix('Error: ')}")
    frames = 0
    for path in out.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            frames += sum(int(row["frames"]) for row in csv.DictReader(file))
    return frames / seconds


def main() -> None:
    """Run the benchmark and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="default: a synthetic one")
    parser.add_argument("--seconds", type=int, default=60, help="length of the synthetic video")
    parser.add_argument("--copies", type=int, default=2, help="videos per worker")
    parser.add_argument("--rounds", type=int, default=3, help="number of runs of each kind; the median is printed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="measure examples/archive_ray.py; needs ray")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: arguments.workers]
    if len(cores) < arguments.workers:
        parser.error(f"there are {len(cores)} cores here: --workers {arguments.workers} needs as many")
    runs = {
        "1 worker, 1 core": (1, {cores[0]}),
        f"1 worker, {len(cores)} cores": (1, set(cores)),
        f"{len(cores)} workers, {len(cores)} cores": (len(cores), set(cores)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "recordings")
        folder.mkdir()
        first = folder / f"0{arguments.video.suffix if arguments.video else '.mp4'}"
        if arguments.video is None:
            draw(first, seconds=arguments.seconds)
        else:
            shutil.copy(arguments.video, first)
        for number in range(1, arguments.copies * len(cores)):
            os.link(first, folder / f"{number}{first.suffix}")
        results = set()
        for number in range(arguments.rounds):
            for name, (workers, allowed) in runs.items():
                out = Path(temporary, f"{number} {name}")
                speeds[name].append(run(folder, out, workers=workers, cores=allowed, ray=arguments.ray))
                results.add(tuple(path.read_bytes() for path in sorted(out.glob("*.csv"))))
    if len(results) != 1:
        sys.exit("the results differ from run to run")
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    one, alone, many = medians.values()
    figures = {
        "frames_per_s": {name: round(value, 1) for name, value in medians.items()},
        "share_of_linear": round(many / (len(cores) * one), 3),
        "speed_up_over_1_worker_with_all_cores": round(many / alone, 3),
        "load_average": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
