"""`beeagent bench`: the speed of the whole agent, beside that of the model alone."""

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

# As fast as frames are asked for: at the rate of a camera, the camera would be measured.
DEFAULT_CAMERA = "synthetic:1280x720?live=no"
_ROUNDS = 3
_SAMPLES = 64
_STRIDE = 7  # every 7th frame of a file is in the sample
_PIXELS_STRIDE = 8  # of every 8th frame of the sample, the pixels are kept
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
    """Some frames of a camera, prepared for the model, and the time to read and to prepare one, in milliseconds.

    Of a few, the pixels as well. The rate of the camera is in frames per second; None for files, which wait.
    """

    frames: list[PreparedFrame]
    pixels: list[NDArray[np.uint8]]
    rate: float | None
    size: tuple[int, int]
    read_ms: float
    prepare_ms: float


class _Meter:
    """Measures one run of the agent from its first result to its last; startup does not count."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._began: tuple[int, int] | None = None
        self.full = False
        self.frames = 0
        self.ms = self.cpu_ms = 0.0  # per frame
        self.inferences = 0
        self.inference_ms: list[float] = []  # of frames with an inference
        self.age_ms: list[float] = []

    def take(self, result: FrameResult) -> None:
        now, cpu = time.monotonic_ns(), time.process_time_ns()
        if self._began is None:
            self._began = now, cpu
            return
        self.frames += 1
        self.ms, self.cpu_ms = ((at - on) / 1e6 / self.frames for at, on in zip((now, cpu), self._began, strict=True))
        self.inferences += result.inferences
        if result.inferences:
            self.inference_ms.append(result.inference_ms)
        self.age_ms.append((now - result.frame.captured_ns) / 1e6)
        self.full = now - self._began[0] >= self._seconds * 1e9


def measure(settings: Settings, *, seconds: float) -> dict[str, Any]:
    """Measure the agent against the bare model.

    Rates and times are medians over rounds; each runs the agent, then the model alone.

    Args:
        settings: camera and model, `regions` included; other sections are not used.
        seconds: duration over all rounds, of the agent and of the model each.

    Returns:
        model: identity of the model.
        runtime: the TFLite runtime.
        threads: CPU threads for inference.
        workers: frames the agent processes in parallel, each on its share of the threads.
        cores: CPU cores that this process may use.
        camera: address of the camera.
        frame: width and height of its frames in pixels.
        frames: frames the agent processed, over all rounds.
        agent_fps: frames/s of the whole agent: read, prepare, infer, decode, message, outbox, publisher.
        inferences_per_frame: number of inferences of the agent, by number of frames: 1, more with tiles, and with
            regions as many as the activity requires.
        bare_fps: frames/s of `Interpreter.invoke()` alone, as often per frame as the agent runs the model, on the same
            threads, with nothing else running.
        ratio: `agent_fps` / `bare_fps`: the median over the rounds.
        inference_ms: a frame in the model within the agent, on a worker's share of the threads, with everything else
            running; of frames without any inference, none.
        bare_ms: a frame in the model alone, on all the threads.
        cpu_ms: CPU time of the whole agent per frame, on all cores together.
        bare_cpu_ms: CPU time of a frame in the model alone.
        read_ms: reading and decoding a frame, measured alone; overlaps with inference.
        prepare_ms: letterboxing a frame to the model's input, measured alone; overlaps with inference.
        age_p95_ms: age of a frame when its result is ready to publish, 95th percentile.
        peak_memory_mb: largest resident memory of the process while the agent ran (10^6 bytes).
        recommended_model: name of the bundled model that fits camera and machine; None if no camera is configured, if
            another model is, or if no bee was detected.
        advice: the same in words, with the reasons.

    Raises:
        InputError: a setting cannot be used, or the camera has fewer than two frames.
    """
    bundle = load_model(settings)
    camera = settings.camera.address or DEFAULT_CAMERA
    if settings.model.measured:
        choice = choose_workers(settings, bundle)
        settings = settings.replace(threads=choice.threads, workers=choice.workers)
    measured = settings.replace(camera=camera, broker="none", publish="always", stdout=False)
    # The regions depend on the frames before: alone, the model runs on whole frames, as often.
    tiling = NO_TILES if settings.model.regions else resolve_tiling(settings.model.tiles, bundle)
    meters: list[_Meter] = []
    bare: list[tuple[float, float]] = []
    for number in range(_ROUNDS):
        meters.append(_run_agent(measured, bundle, seconds / _ROUNDS))
        if number == 0:
            # Before anything but the agent has taken memory. Linux counts in KiB.
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
    """Return the figures of `measure` as text for people."""
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

    def take(result: FrameResult) -> None:
        meter.take(result)
        if meter.full:
            agent.stop()

    with tempfile.TemporaryDirectory(prefix="beeagent-bench-") as folder:
        agent = Agent(settings, bundle=bundle, outbox_path=Path(folder) / "outbox.sqlite3", on_result=take)
        agent.run()
    if not meter.frames:
        raise InputError(f"camera {settings.camera.address!r} has too few frames to measure: give a video or a camera")
    return meter


def _bare_inference(
    bundle: ModelBundle, threads: int, frames: list[PreparedFrame], seconds: float
) -> tuple[float, float]:
    """Return the wall-clock and CPU time of one inference of the model alone, in milliseconds.

    On the camera's own frames: the time of the post-processing depends on their content.
    """
    detector = Detector(bundle, DetectorOptions(threads=threads))
    invoke = detector.interpreter.invoke
    tensors = [tensor for frame in frames for tensor in frame.tensors]
    spent = spent_cpu = count = 0
    while spent < seconds * 1e9:
        detector.feed(tensors[count % len(tensors)])
        began, began_cpu = time.perf_counter_ns(), time.process_time_ns()
        invoke()
        spent += time.perf_counter_ns() - began
        spent_cpu += time.process_time_ns() - began_cpu
        count += 1
    return spent / 1e6 / count, spent_cpu / 1e6 / count


def _sample(camera: str, bundle: ModelBundle, tiling: Tiling) -> _Sample:
    """Read and prepare some frames, spread over a file, with nothing else running."""
    detector = Detector(bundle, DetectorOptions(threads=1, tiling=tiling))
    frames: list[PreparedFrame] = []
    reading: list[float] = []
    preparing: list[float] = []
    pixels: list[NDArray[np.uint8]] = []
    captured: list[int] = []
    size = (0, 0)
    with closing(open_source(parse_camera(camera), SourceOptions())) as source:
        while len(frames) < _SAMPLES:
            began = time.perf_counter_ns()
            frame = source.read()
            if frame is None:
                break
            read = time.perf_counter_ns()
            reading.append((read - began) / 1e6)
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
