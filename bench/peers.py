"""Compare the whole agent with other ways to run its model on the same video.

    uv venv .venv-mediapipe && uv pip install --python .venv-mediapipe mediapipe paho-mqtt
    BEEAGENT_MEDIAPIPE_PYTHON=.venv-mediapipe/bin/python python bench/peers.py hive.mp4 --threads 1 2

Each contender processes every frame of the video once per round, in its own process, one after the other. All but
`invoke` publish the result of each frame to one mosquitto at QoS 1; the agent first stores it in its outbox on disk.

    agent       beeagent with default settings
    invoke      the interpreter alone, on frames that were read and prepared before
    loop        cv2 reads, LiteRT infers, paho publishes; one frame after the other
    mediapipe   the same with MediaPipe Tasks, which selects its number of threads by itself
    agent 2x2   beeagent --tiles 2x2: the whole frame and four tiles
    slicer      the loop with supervision's InferenceSlicer, for the same five inferences

The table has the median of the rounds; `agent is` is the median, over the rounds, of the agent's frame rate divided by
the contender's. A contender whose packages are missing is skipped, with the reason. Measure on an idle machine.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beeagent.camera import open_camera
from beeagent.detection import Detector, DetectorOptions, ModelBundle, bundled_models
from beeagent.errors import InputError
from beeagent.runtime import Agent, FrameResult
from beeagent.settings import load_settings

LOOPS: Final = Path(__file__).with_name("peer_loops.py")
WARM_UP: Final = 30  # frames, as in the loops
MEDIAPIPE: Final = "BEEAGENT_MEDIAPIPE_PYTHON"
AGENT_OF: Final = {"slicer": "agent 2x2"}  # the contender's counterpart, if not `agent`

Figures = dict[str, float]


def main() -> None:
    """Run the contenders and print a table per number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="bees-lite0", help="name of a bundled model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=400, help="maximum number of frames of the video")
    parser.add_argument("--mediapipe-python", default=os.environ.get(MEDIAPIPE), help=f"default: {MEDIAPIPE}")
    parser.add_argument("--json", type=Path, help="also write the figures of every round to this file")
    parser.add_argument("--run", choices=["agent", "agent 2x2", "invoke"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run is not None:
        sys.stdout.write(json.dumps(_run_own(args)) + "\n")
        return
    if shutil.which("mosquitto") is None:
        raise InputError("mosquitto is not installed: apt install mosquitto")
    contenders = ["agent", "invoke", "loop", "mediapipe", "agent 2x2", "slicer"]
    if args.mediapipe_python is None:
        contenders.remove("mediapipe")
        print(f"mediapipe is skipped: {MEDIAPIPE} names no Python with mediapipe and paho-mqtt")
    if importlib.util.find_spec("supervision") is None:
        contenders.remove("slicer")
        print("slicer is skipped: supervision is not installed")
    everything: dict[int, dict[str, list[Figures]]] = {}
    with _mosquitto() as port:
        for threads in args.threads:
            rounds: dict[str, list[Figures]] = {name: [] for name in contenders}
            for _ in range(args.rounds):
                for name in contenders:
                    rounds[name].append(figures := _measure(name, args, threads=threads, port=port))
                    print(f"{threads} thread(s), {name}: {figures['fps']:.1f} frames/s", file=sys.stderr, flush=True)
            everything[threads] = rounds
            _print_table(args, threads, rounds)
    if args.json is not None:
        args.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


def _print_table(args: argparse.Namespace, threads: int, rounds: dict[str, list[Figures]]) -> None:
    load = os.getloadavg()[0]
    print(f"\n{args.video.name}, {args.model}, {threads} thread(s), {args.rounds} rounds, load average {load:.1f}\n")
    print("| contender | frames/s | processor time per frame | agent is |\n| --- | --- | --- | --- |")
    for name, figures in rounds.items():
        fps, cpu = (statistics.median(one[key] for one in figures) for key in ("fps", "cpu_ms"))
        ours = rounds[AGENT_OF.get(name, "agent")]
        times = statistics.median(our["fps"] / one["fps"] for our, one in zip(ours, figures, strict=True))
        ratio = "" if name.startswith("agent") else f"{times:.2f} times as fast"
        print(f"| {name} | {fps:.1f} | {cpu:.1f} ms | {ratio} |")


def _measure(name: str, args: argparse.Namespace, *, threads: int, port: int) -> Figures:
    """Run one contender in a process of its own."""
    if name in {"loop", "slicer", "mediapipe"}:
        python = args.mediapipe_python if name == "mediapipe" else sys.executable
        folder = bundled_models()[args.model]
        threshold = ModelBundle.load(folder).threshold
        command = [python, LOOPS, name, folder / "model.tflite", args.video, threads, port, args.frames, threshold]
    else:
        command = [sys.executable, __file__, args.video, "--model", args.model, "--threads", threads]
        command += ["--run", name, "--port", port, "--frames", args.frames]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"{name} failed: {' '.join(done.stderr.split())[-500:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _run_own(args: argparse.Namespace) -> Figures:
    bundle = ModelBundle.load(bundled_models()[args.model])
    (threads,) = args.threads
    if args.run == "invoke":
        return _run_invoke(bundle, args.video, threads, frames=args.frames)
    options = {"threads": threads, "broker": f"mqtt://127.0.0.1:{args.port}", "frames": args.frames}
    return _run_agent(bundle, args.video, options | ({"tiles": "2x2"} if args.run == "agent 2x2" else {}))


def _run_agent(bundle: ModelBundle, video: Path, options: dict[str, Any]) -> Figures:
    marks: list[tuple[float, float]] = []

    def take(_: FrameResult) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    settings = load_settings({"camera": str(video), "publish": "always", **options}, config=None)
    with tempfile.TemporaryDirectory(prefix="beeagent-peers-") as folder:
        Agent(settings, bundle=bundle, outbox_path=Path(folder) / "outbox.sqlite3", on_result=take).run()
    if len(marks) <= WARM_UP:
        raise InputError(f"{video} has {len(marks)} frames; more than {WARM_UP} are needed")
    (began, cpu), (ended, cpu_end) = marks[WARM_UP - 1], marks[-1]
    frames = len(marks) - WARM_UP
    return {"fps": frames / (ended - began), "cpu_ms": 1000 * (cpu_end - cpu) / frames}


def _run_invoke(bundle: ModelBundle, video: Path, threads: int, *, frames: int) -> Figures:
    detector = Detector(bundle, DetectorOptions(threads=threads))
    with open_camera(str(video)) as camera:
        prepared = [detector.prepare(frame.pixels) for frame in itertools.islice(camera, frames)]
    spent = cpu = 0.0
    for number, one in enumerate(prepared):
        detector.feed(one.tensors[0])
        began, cpu_began = time.perf_counter(), time.process_time()
        detector.interpreter.invoke()
        if number >= WARM_UP:
            spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - cpu_began
    measured = len(prepared) - WARM_UP
    return {"fps": measured / spent, "cpu_ms": 1000 * cpu / measured}


@contextlib.contextmanager
def _mosquitto() -> Iterator[int]:
    """Run a broker for the time of a block; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL)  # noqa: S603, S607
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        broker.terminate()
        broker.wait()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
