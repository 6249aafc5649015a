"""`beeagent bench`: what the whole agent makes of the model's speed."""

import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beeagent.camera import SourceOptions, open_source, parse_camera
from beeagent.detection import (
    Detector,
    DetectorOptions,
    ModelBundle,
    PreparedFrame,
    Tiling,
    resolve_tiling,
    runtime_name,
)
from beeagent.errors import InputError
from beeagent.runtime.agent import Agent
from beeagent.runtime.factory import chosen_bundle, chosen_workers
from beeagent.runtime.pipeline import FrameResult
from beeagent.settings import Settings

# As fast as it is asked: at a camera's own rate, the camera would be what is measured.
DEFAULT_CAMERA = "synthetic:1280x720?live=no"
_ROUNDS = 3
_SAMPLES = 64
_STRIDE = 7  # of the frames of a file, each so-manieth is in the sample


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured. Rates and times are medians over the rounds; a round runs the agent, then the model alone.

    Attributes:
        model: identity of the model.
        runtime: the TFLite runtime.
        threads: CPU threads to compute with.
        workers: frames the agent looks at at the same time, on its share of the threads each.
        cores: how many the machine has for this process.
        camera: what was looked at.
        frame: width and height of its frames in pixels.
        frames: frames the agent looked at, over all rounds.
        agent_fps: frames/s of the whole agent: read, prepare, infer, decode, message, outbox, publisher.
        bare_fps: frames/s of `Interpreter.invoke()` alone, once for each region of a frame, on the same threads, with
            nothing else running.
        ratio: the first over the second: the median of the rounds' ratios.
        inference_ms: one inference within the agent, on a worker's share of the threads and beside all else.
        bare_ms: one inference alone, on all the threads.
        cpu_ms: processor time of the whole agent for a frame, on all cores together.
        bare_cpu_ms: processor time of one inference alone.
        read_ms: reading and decoding a frame, measured alone; overlaps with inference.
        prepare_ms: laying a frame into the model's input, measured alone; overlaps with inference.
        age_p95_ms: age of a frame when its result is ready to publish, 95th percentile.
        peak_memory_mb: largest resident memory of the process while the agent ran (10^6 bytes).
    """

    model: str
    runtime: str
    threads: int
    workers: int
    cores: int
    camera: str
    frame: tuple[int, int]
    frames: int
    agent_fps: float
    bare_fps: float
    ratio: float
    inference_ms: float
    bare_ms: float
    cpu_ms: float
    bare_cpu_ms: float
    read_ms: float
    prepare_ms: float
    age_p95_ms: float
    peak_memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """Give the figures for machines."""
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}

    def to_text(self) -> str:
        """Give the figures for people."""
        width, height = self.frame
        available = 1000 * self.cores / self.agent_fps
        return "\n".join(
            (
                f"{self.model}, {self.runtime}, {self.threads} thread(s); {self.camera}, {width}x{height}",
                f"  whole agent         {self.agent_fps:8.2f} frames/s   ({self.frames}, {self.workers} at a time)",
                f"  bare invoke()       {self.bare_fps:8.2f} frames/s",
                f"  agent / bare        {self.ratio:8.3f}",
                f"Of {available:.2f} ms that {self.cores} core(s) have for a frame:",
                f"  the whole agent     {self.cpu_ms:8.2f} ms   an inference alone takes {self.bare_cpu_ms:.2f}",
                f"  unused              {available - self.cpu_ms:8.2f} ms",
                f"  with none unused    {1000 * self.cores / self.cpu_ms:8.2f} frames/s",
                "Beside the model, on other threads (measured alone):",
                f"  reading a frame     {self.read_ms:8.2f} ms",
                f"  preparing it        {self.prepare_ms:8.2f} ms",
                (
                    f"Frame age at the 95th percentile when published: {self.age_p95_ms:.1f} ms, or "
                    f"{self.age_p95_ms / self.inference_ms:.2f} inferences"
                ),
                f"Peak resident memory of the agent: {self.peak_memory_mb:.0f} MB",
            )
        )


@dataclass(slots=True)
class _Round:
    """One run of the agent, as its results tell it."""

    began_ns: int = 0
    ended_ns: int = 0
    began_cpu_ns: int = 0
    ended_cpu_ns: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class _Bare:
    """A frame in the model alone: time on the clock and on all cores together, in milliseconds."""

    ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some of a camera's frames, ready for the model, and what reading and preparing one took in milliseconds."""

    frames: list[PreparedFrame]
    size: tuple[int, int]
    read_ms: float
    prepare_ms: float


class _Meter:
    """Takes the time of the agent's results, from the first on; start-up does not count."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self.full = False
        self.round = _Round()
        self.inference_ms: list[float] = []
        self.age_ms: list[float] = []

    def take(self, result: FrameResult) -> None:
        now = time.monotonic_ns()
        if self.round.began_ns == 0:
            self.round.began_ns, self.round.began_cpu_ns = now, time.process_time_ns()
            return
        self.round.ended_ns, self.round.ended_cpu_ns = now, time.process_time_ns()
        self.round.frames += 1
        self.inference_ms.append(result.inference_ms)
        self.age_ms.append((now - result.frame.captured_ns) / 1e6)
        self.full = now - self.round.began_ns >= self._seconds * 1e9


def measure(settings: Settings, *, seconds: float) -> BenchReport:
    """Measure the agent against the bare model.

    Args:
        settings: of which camera, model, labels and threads count.
        seconds: how long, for agent and model each, over all rounds.

    Raises:
        InputError: something in the settings cannot be used, or the camera gave fewer than two frames.
    """
    bundle = chosen_bundle(settings)
    camera = settings.camera or DEFAULT_CAMERA
    wanted = settings.model_copy(update={"camera": camera, "broker": "none", "publish": "always", "stdout": False})
    meters: list[_Meter] = []
    bare: list[_Bare] = []
    meters.append(_run_agent(wanted, bundle, seconds / _ROUNDS))
    # Before anything but the agent has taken memory. Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1) / 1e6
    sample = _sample(camera, bundle, resolve_tiling(settings.tiles, bundle))
    bare.append(_bare_inference(bundle, settings.threads, sample.frames, seconds / _ROUNDS))
    for _ in range(1, _ROUNDS):
        meters.append(_run_agent(wanted, bundle, seconds / _ROUNDS))
        bare.append(_bare_inference(bundle, settings.threads, sample.frames, seconds / _ROUNDS))
    agent_ms = [(m.round.ended_ns - m.round.began_ns) / 1e6 / m.round.frames for m in meters]
    inference = statistics.median(ms for meter in meters for ms in meter.inference_ms)
    return BenchReport(
        model=bundle.identity,
        runtime=runtime_name(),
        threads=settings.threads,
        workers=chosen_workers(settings),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        camera=camera,
        frame=sample.size,
        frames=sum(meter.round.frames for meter in meters),
        agent_fps=1000 / statistics.median(agent_ms),
        bare_fps=1000 / statistics.median(one.ms for one in bare),
        ratio=statistics.median(one.ms / ms for one, ms in zip(bare, agent_ms, strict=True)),
        inference_ms=inference,
        bare_ms=statistics.median(one.ms for one in bare),
        cpu_ms=statistics.median((m.round.ended_cpu_ns - m.round.began_cpu_ns) / 1e6 / m.round.frames for m in meters),
        bare_cpu_ms=statistics.median(one.cpu_ms for one in bare),
        read_ms=sample.read_ms,
        prepare_ms=sample.prepare_ms,
        age_p95_ms=float(np.percentile([ms for meter in meters for ms in meter.age_ms], 95)),
        peak_memory_mb=peak,
    )


def _run_agent(settings: Settings, bundle: ModelBundle, seconds: float) -> _Meter:
    meter = _Meter(seconds=seconds)

    def take(result: FrameResult) -> None:
        meter.take(result)
        if meter.full:
            agent.stop()

    with tempfile.TemporaryDirectory(prefix="beeagent-bench-") as folder:
        agent = Agent(settings, bundle=bundle, outbox_path=Path(folder) / "outbox.sqlite3", on_result=take)
        agent.run()
    if not meter.round.frames:
        raise InputError(f"camera {settings.camera!r} gave too few frames to measure: give a video or a camera")
    return meter


def _bare_inference(bundle: ModelBundle, threads: int, frames: list[PreparedFrame], seconds: float) -> _Bare:
    """Time `invoke()` alone, on the camera's own frames: how long the post-processing takes depends on what is seen."""
    detector = Detector(bundle, DetectorOptions(threads=threads))
    invoke = detector.interpreter.invoke
    spent = spent_cpu = 0
    count = 0
    while spent < seconds * 1e9:
        for one in frames[count % len(frames)].tensors:
            detector.feed(one)
            began, began_cpu = time.perf_counter_ns(), time.process_time_ns()
            invoke()
            spent += time.perf_counter_ns() - began
            spent_cpu += time.process_time_ns() - began_cpu
        count += 1
    return _Bare(spent / 1e6 / count, spent_cpu / 1e6 / count)


def _sample(camera: str, bundle: ModelBundle, tiling: Tiling) -> _Sample:
    """Read and prepare some frames, spread over a file, with nothing else running."""
    source = open_source(parse_camera(camera), SourceOptions())
    detector = Detector(bundle, DetectorOptions(threads=1, tiling=tiling))
    frames: list[PreparedFrame] = []
    reading: list[float] = []
    preparing: list[float] = []
    size = (0, 0)
    try:
        while len(frames) < _SAMPLES:
            began = time.perf_counter_ns()
            frame = source.read()
            if frame is None:
                break
            read = time.perf_counter_ns()
            reading.append((read - began) / 1e6)
            if source.live or len(reading) % _STRIDE == 1:
                frames.append(detector.prepare(frame.pixels))
                preparing.append((time.perf_counter_ns() - read) / 1e6)
                size = (frame.width, frame.height)
    finally:
        source.close()
    if not frames:
        raise InputError(f"camera {camera!r} gave no frame to measure")
    return _Sample(frames, size, statistics.median(reading), statistics.median(preparing))
