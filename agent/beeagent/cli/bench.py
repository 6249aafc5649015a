"""`beeagent bench`: the speed of the whole agent, compared with the model alone."""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beeagent.camera import SourceOptions, open_source, parse_camera
from beeagent.detection import (
    NO_TILES,
    Detector,
    DetectorOptions,
    ModelBundle,
    PreparedFrame,
    Tiling,
    resolve_tiling,
    runtime_name,
)
from beeagent.errors import InputError
from beeagent.runtime import (
    Agent,
    FrameResult,
    advisable_model,
    advise_model,
    choose_workers,
    load_model,
    thread_count,
    worker_count,
)
from beeagent.settings import Settings

# Frames on request: at the rate of a live camera, the result would be the rate of the camera.
DEFAULT_CAMERA = "synthetic:1280x720?live=no"
_ROUNDS = 3
_SAMPLES = 64
_STRIDE = 7  # of the frames of a file, every 7th is in the sample
_PIXELS_STRIDE = 8  # of the frames in the sample, every 8th keeps its pixels
_TEXT = """\
{model}, {runtime}, {threads} thread(s); {camera}, {frame[0]}x{frame[1]}
  whole agent         {agent_fps:8.2f} frames/s   ({frames}; {workers} in parallel)
  bare invoke()       {bare_fps:8.2f} frames/s   ({inferences_per_frame:.2f} inferences per frame)
  agent / bare        {ratio:8.3f}
CPU time per frame, of {available_ms:.2f} ms available on {cores} core(s):
  the whole agent     {cpu_ms:8.2f} ms   (the model alone: {bare_cpu_ms:.2f} ms)
  idle                {unused_ms:8.2f} ms
  possible, none idle {possible_fps:8.2f} frames/s
On other threads, while the model runs (measured alone):
  reading a frame     {read_ms:8.2f} ms
  preparing it        {prepare_ms:8.2f} ms
Age of a frame when published, 95th percentile: {age_p95_ms:.1f} ms, or {age_inferences:.2f} inferences
Peak resident memory of the agent: {peak_memory_mb:.0f} MB"""
_ADVICE_TEXT = "\nModel for this camera: {advice}"


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample of the camera's frames.

    Attributes:
        frames: the frames, prepared for the model.
        pixels: the pixels of some of the frames.
        rate: frames per second of the camera; None for files, which are read on request.
        size: width and height of a frame.
        read_ms: median time to read a frame, in milliseconds.
        prepare_ms: median time to prepare a frame, in milliseconds.
    """

    frames: list[PreparedFrame]
    pixels: list[NDArray[np.uint8]]
    rate: float | None
    size: tuple[int, int]
    read_ms: float
    prepare_ms: float


class _Meter:
    """Measures a run of the agent from its first to its last result, without the startup."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._start: tuple[int, int] | None = None
        self.full = False
        self.frames = 0
        self.ms = self.cpu_ms = 0.0  # per frame
        self.inferences = 0
        self.inference_ms: list[float] = []  # only frames with an inference
        self.age_ms: list[float] = []

    def add(self, result: FrameResult) -> None:
        now, cpu = time.monotonic_ns(), time.process_time_ns()
        if self._start is None:
            self._start = now, cpu
            return
        self.frames += 1
        self.ms, self.cpu_ms = (
            (end - start) / 1e6 / self.frames for start, end in zip(self._start, (now, cpu), strict=True)
        )
        self.inferences += result.inferences
        if result.inferences:
            self.inference_ms.append(result.inference_ms)
        self.age_ms.append((now - result.frame.captured_ns) / 1e6)
        self.full = now - self._start[0] >= self._seconds * 1e9


def measure(settings: Settings, *, seconds: float) -> dict[str, Any]:
    """Measure the whole agent and the model alone.

    Rates and times are medians over several rounds; each round runs the agent, then the model alone.

    Args:
        settings: settings; only the camera and the model, including `regions`, are used.
        seconds: total duration of the agent's rounds, and of the model's rounds.

    Returns:
        model: identity of the model.
        runtime: the TFLite runtime.
        threads: number of CPU threads for inference.
        workers: number of frames that the agent processes in parallel, each on its share of the threads.
        cores: number of CPU cores that this process may use.
        camera: address of the camera.
        frame: width and height of the camera's frames in pixels.
        frames: number of frames processed by the agent, over all rounds.
        agent_fps: frames/s of the whole agent: read, prepare, infer, decode, message, outbox, publisher.
        inferences_per_frame: number of inferences per frame in the agent: 1, more with tiles, and depending on the
            activity with regions.
        bare_fps: frames/s of `Interpreter.invoke()` alone, with as many inferences per frame as in the agent, on the
            same threads, with nothing else running.
        ratio: `agent_fps` / `bare_fps`, as the median over the rounds.
        inference_ms: inference time of a frame in the agent, on a worker's share of the threads, with everything else
            running; frames without an inference are left out.
        bare_ms: inference time of a frame in the model alone, on all threads.
        cpu_ms: CPU time of the whole agent per frame, summed over all cores.
        bare_cpu_ms: CPU time of a frame in the model alone.
        read_ms: time to read and decode a frame, measured alone; in the agent it overlaps with inference.
        prepare_ms: time to letterbox a frame to the model's input, measured alone; in the agent it overlaps with
            inference.
        age_p95_ms: Age of a frame when its result is ready to publish, 95th percentile.
        peak_memory_mb: peak resident memory of the process while the agent ran, in 10^6 bytes.
        recommended_model: name of the bundled model that fits camera and machine; None without a configured camera,
            with a model that is not bundled, or if no bee was detected.
        advice: the recommendation in words, with the reasons.

    Raises:
        InputError: A setting cannot be used, or the camera has fewer than two frames.
    """
    bundle = load_model(settings)
    camera = settings.camera.address or DEFAULT_CAMERA
    if settings.model.measured:
        choice = choose_workers(settings, bundle)
        settings = settings.replace(threads=choice.threads, workers=choice.workers)
    measured = settings.replace(camera=camera, broker="none", publish="always", stdout=False)
    # Regions depend on the previous frames, so the model alone runs on whole frames, with as many inferences.
    tiling = NO_TILES if settings.model.regions else resolve_tiling(settings.model.tiles, bundle)
    meters: list[_Meter] = []
    bare: list[tuple[float, float]] = []
    for number in range(_ROUNDS):
        meters.append(_run_agent(measured, bundle, seconds / _ROUNDS))
        if number == 0:
            # Before anything but the agent has allocated memory. The unit is KiB on Linux.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1) / 1e6
            sample = _sample(camera, bundle, tiling)
        bare.append(_bare_inference(bundle, thread_count(settings), sample.frames, seconds / _ROUNDS))
    current = None if settings.camera.address is None else advisable_model(settings)
    advice = None
    if current is not None:
        advice = advise_model(settings, sample.pixels, current=current, camera_rate=sample.rate)
    per_frame = sum(meter.inferences for meter in meters) / sum(meter.frames for meter in meters)
    if not per_frame:
        raise InputError(f"nothing moved before camera {camera!r}, and regions ran no inference: bench without regions")
    agent_ms = statistics.median(meter.ms for meter in meters)
    bare_ms = per_frame * statistics.median(ms for ms, _ in bare)
    figures = {
        "model": bundle.identity,
        "runtime": runtime_name(),
        "threads": thread_count(settings),
        "workers": worker_count(settings),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        "camera": camera,
        "frame": sample.size,
        "frames": sum(meter.frames for meter in meters),
        "inferences_per_frame": per_frame,
        "agent_fps": 1000 / agent_ms,
        "bare_fps": 1000 / bare_ms,
        "ratio": statistics.median(per_frame * ms / meter.ms for (ms, _), meter in zip(bare, meters, strict=True)),
        "inference_ms": statistics.median(ms for meter in meters for ms in meter.inference_ms),
        "bare_ms": bare_ms,
        "cpu_ms": statistics.median(meter.cpu_ms for meter in meters),
        "bare_cpu_ms": per_frame * statistics.median(cpu_ms for _, cpu_ms in bare),
        "read_ms": sample.read_ms,
        "prepare_ms": sample.prepare_ms,
        "age_p95_ms": float(np.percentile([ms for meter in meters for ms in meter.age_ms], 95)),
        "peak_memory_mb": peak,
        "recommended_model": None if advice is None else advice.model,
        "advice": None if advice is None else advice.text,
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def report_text(figures: Mapping[str, Any]) -> str:
    """Return the figures of `measure` as readable text."""
    available = 1000 * figures["cores"] / figures["agent_fps"]
    text = _TEXT if figures["advice"] is None else _TEXT + _ADVICE_TEXT
    return text.format(
        **figures,
        available_ms=available,
        unused_ms=available - figures["cpu_ms"],
        possible_fps=1000 * figures["cores"] / figures["cpu_ms"],
        age_inferences=figures["age_p95_ms"] / figures["inference_ms"],
    )


def _run_agent(settings: Settings, bundle: ModelBundle, seconds: float) -> _Meter:
    meter = _Meter(seconds=seconds)

    def add(result: FrameResult) -> None:
        meter.add(result)
        if meter.full:
            agent.stop()

    with tempfile.TemporaryDirectory(prefix="beeagent-bench-") as folder:
        agent = Agent(settings, bundle=bundle, outbox_path=Path(folder) / "outbox.sqlite3", on_result=add)
        agent.run()
    if not meter.frames:
        raise InputError(f"camera {settings.camera.address!r} has too few frames to measure: give a video or a camera")
    return meter


def _bare_inference(
    bundle: ModelBundle, threads: int, frames: list[PreparedFrame], seconds: float
) -> tuple[float, float]:
    """Return the wall-clock and CPU time of one inference of the model alone, in milliseconds.

    It runs on frames of the camera, because the time of the post-processing depends on their content.
    """
    detector = Detector(bundle, DetectorOptions(threads=threads))
    invoke = detector.interpreter.invoke
    tensors = [tensor for frame in frames for tensor in frame.tensors]
    spent = spent_cpu = count = 0
    while spent < seconds * 1e9:
        detector.feed(tensors[count % len(tensors)])
        start, start_cpu = time.perf_counter_ns(), time.process_time_ns()
        invoke()
        spent += time.perf_counter_ns() - start
        spent_cpu += time.process_time_ns() - start_cpu
        count += 1
    return spent / 1e6 / count, spent_cpu / 1e6 / count


def _sample(camera: str, bundle: ModelBundle, tiling: Tiling) -> _Sample:
    """Read and prepare a sample of frames, spread over a file, with nothing else running."""
    detector = Detector(bundle, DetectorOptions(threads=1, tiling=tiling))
    frames: list[PreparedFrame] = []
    reading: list[float] = []
    preparing: list[float] = []
    pixels: list[NDArray[np.uint8]] = []
    captured: list[int] = []
    size = (0, 0)
    with closing(open_source(parse_camera(camera), SourceOptions())) as source:
        while len(frames) < _SAMPLES:
            start = time.perf_counter_ns()
            frame = source.read()
            if frame is None:
                break
            read = time.perf_counter_ns()
            reading.append((read - start) / 1e6)
            captured.append(frame.captured_ns)
            if source.live or len(reading) % _STRIDE == 1:
                frames.append(detector.prepare(frame.pixels))
                preparing.append((time.perf_counter_ns() - read) / 1e6)
                size = frame.size
                if len(frames) % _PIXELS_STRIDE == 1:
                    pixels.append(frame.pixels)
    if not frames:
        raise InputError(f"camera {camera!r} has no frame to measure")
    seconds = (captured[-1] - captured[0]) / 1e9
    rate = (len(captured) - 1) / seconds if source.live and seconds > 0 else None
    return _Sample(frames, pixels, rate, size, statistics.median(reading), statistics.median(preparing))
