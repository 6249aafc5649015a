"""`--workers auto`: how many frames to process in parallel, measured at the first start and kept."""

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.detection import Detector, DetectorOptions, ModelBundle, runtime_name
from beeagent.output import write_file
from beeagent.settings import Settings

_LOG = logging.getLogger(__name__)

_MEASURE_S = 0.5
_MAX_WORKERS = 8
_ENOUGH = 0.95
"""Ratio of the best rate that is enough: each further worker costs memory, and delays each result."""


_Workers = Annotated[int, Field(ge=1, le=_MAX_WORKERS)]


class WorkerChoice(BaseModel):
    """The content of the file `…workers.json`, for one model and number of threads on one machine.

    Attributes:
        model: identity of the model.
        runtime: the TFLite runtime.
        threads: CPU threads, split among the workers.
        cores: CPU cores of the machine.
        frames_per_s: inferences per second by number of workers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    runtime: str
    threads: int
    cores: int
    frames_per_s: Annotated[dict[_Workers, float], Field(min_length=1)]

    @property
    def workers(self) -> int:
        """The fewest workers that reach almost the best rate."""
        best = max(self.frames_per_s.values())
        return min(workers for workers, rate in self.frames_per_s.items() if rate >= _ENOUGH * best)

    def __str__(self) -> str:
        """Return the choice and the rates for people."""
        rates = ", ".join(f"{rate:.1f} with {workers}" for workers, rate in sorted(self.frames_per_s.items()))
        return f"{self.workers} frame(s) in parallel on {self.threads} thread(s); frames/s measured: {rates}"


def choose_workers(settings: Settings, bundle: ModelBundle, *, stopping: threading.Event | None = None) -> WorkerChoice:
    """Return the choice of the state directory or, if it is of another model or machine, measure and keep it.

    Args:
        settings: `threads`, and the state directory.
        bundle: the model.
        stopping: when set, the measurement ends, and its result is not kept.

    Raises:
        InputError: there is no state directory, or the model cannot be used.
        BeeagentError: there is no working TFLite runtime.
    """
    path = settings.state_file("workers.json")
    wanted = {
        "model": bundle.identity,
        "runtime": runtime_name(),
        "threads": settings.model.threads,
        "cores": os.cpu_count() or 1,
    }
    kept = _read(path)
    if kept is not None and kept.model_dump(exclude={"frames_per_s"}) == wanted:
        return kept
    stopping = stopping or threading.Event()
    rates = _measure(bundle, settings.model.threads, stopping)
    choice = WorkerChoice.model_validate({**wanted, "frames_per_s": rates})
    if not stopping.is_set():
        _write(path, choice)
        _LOG.info("workers: %s", choice)
    return choice


def _measure(bundle: ModelBundle, threads: int, stopping: threading.Event) -> dict[int, float]:
    """Return the inferences per second for each number of workers that splits the threads evenly."""
    rates: dict[int, float] = {}
    for workers in range(1, min(threads, _MAX_WORKERS) + 1):
        if threads % workers == 0 and not (rates and stopping.is_set()):
            rates[workers] = _rate(bundle, workers=workers, threads=threads // workers, stopping=stopping)
    return rates


def _rate(bundle: ModelBundle, *, workers: int, threads: int, stopping: threading.Event) -> float:
    detectors = [Detector(bundle, DetectorOptions(threads=threads)) for _ in range(workers)]
    width, height = detectors[0].input_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    prepared = detectors[0].prepare(noise)
    ready = threading.Barrier(workers)

    def infer(detector: Detector) -> float:
        ready.wait()
        began, count = time.perf_counter(), 0
        while not count or (not stopping.is_set() and time.perf_counter() - began < _MEASURE_S):
            detector.infer(prepared)
            count += 1
        return count / (time.perf_counter() - began)

    with ThreadPoolExecutor(workers, thread_name_prefix="measure") as pool:
        return sum(pool.map(infer, detectors))


def _read(path: Path) -> WorkerChoice | None:
    try:
        return WorkerChoice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None  # it is measured again


def _write(path: Path, choice: WorkerChoice) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, [choice.model_dump_json(indent=2).encode(), b"\n"], mode=0o644)
    except OSError as error:
        _LOG.warning("workers: %s cannot be written (%s): measured again at the next start", path, error.strerror)
