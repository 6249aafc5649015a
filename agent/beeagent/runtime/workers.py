"""The measurement for `--threads auto` and `--workers auto`, at the first start."""

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent.detection import Detector, DetectorOptions, ModelBundle, runtime_name
from beeagent.output import write_file
from beeagent.settings import Settings

_LOG = logging.getLogger(__name__)

_MEASURE_S = 0.5
_MAX_WORKERS = 8
_ENOUGH = 0.95
"""Sufficient ratio of the best rate, since an additional thread takes a core from the rest of the agent, and an
additional worker costs memory and latency."""

_Threads = Annotated[int, Field(ge=1, le=64)]
_Workers = Annotated[int, Field(ge=1, le=_MAX_WORKERS)]


class WorkerChoice(BaseModel):
    """The content of the file `…workers.json`, for a model, a machine, and the settings of threads and workers.

    Attributes:
        model: identity of the model.
        runtime: the TFLite runtime.
        cores: number of CPU cores of the machine.
        wanted: settings `threads` and `workers`.
        frames_per_s: inferences per second, by number of threads and number of workers that share them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    runtime: str
    cores: int
    wanted: tuple[_Threads | Literal["auto"], int | Literal["auto"]]
    frames_per_s: Annotated[dict[_Threads, Annotated[dict[_Workers, float], Field(min_length=1)]], Field(min_length=1)]

    @property
    def threads(self) -> int:
        """The smallest number of threads that reaches almost the best rate."""
        return self._best[0]

    @property
    def workers(self) -> int:
        """The smallest number of workers that reaches almost the best rate with these threads."""
        return self._best[1]

    @property
    def _best(self) -> tuple[int, int]:
        rates = {(threads, n): rate for threads, by_n in self.frames_per_s.items() for n, rate in by_n.items()}
        best = max(rates.values())
        return min(numbers for numbers, rate in rates.items() if rate >= _ENOUGH * best)

    def __str__(self) -> str:
        """Return the choice and the rates as text."""
        several = len(self.frames_per_s) > 1
        rates = [
            f"{rate:.1f} with {workers}" + (f" on {threads}" if several else "")
            for threads, by_workers in sorted(self.frames_per_s.items())
            for workers, rate in sorted(by_workers.items())
        ]
        return f"{self.workers} frame(s) in parallel on {self.threads} thread(s); frames/s measured: {', '.join(rates)}"


def choose_workers(settings: Settings, bundle: ModelBundle, *, stopping: threading.Event | None = None) -> WorkerChoice:
    """Return the choice stored in the state directory or, if it is of another model or machine, measure and store it.

    Args:
        settings: `threads` and `workers`, one or both of which are `auto`, and the state directory. Workers that are
            not set are chosen together with threads.
        bundle: the model.
        stopping: event that ends the measurement; its result is then not stored.

    Raises:
        InputError: there is no state directory, or the model cannot be used.
        BeeagentError: there is no working TFLite runtime.
    """
    path = settings.state_file("workers.json")
    cores = os.cpu_count() or 1
    requested = (settings.model.threads, "auto" if settings.model.workers is None else settings.model.workers)
    key = {"model": bundle.identity, "runtime": runtime_name(), "cores": cores, "wanted": requested}
    stored = _read(path)
    if stored is not None and stored.model_dump(exclude={"frames_per_s"}) == key:
        return stored
    stopping = stopping or threading.Event()
    rates: dict[int, dict[int, float]] = {}
    for threads, workers in _candidates(*requested, cores=cores):
        if not (rates and stopping.is_set()):
            rate = _rate(bundle, workers=workers, threads=threads // workers, stopping=stopping)
            rates.setdefault(threads, {})[workers] = rate
    choice = WorkerChoice.model_validate({**key, "frames_per_s": rates})
    if not stopping.is_set():
        _write(path, choice)
        _LOG.info("workers: %s", choice)
    return choice


def _candidates(threads: int | Literal["auto"], workers: int | Literal["auto"], *, cores: int) -> list[tuple[int, int]]:
    """Return the numbers of threads and workers to measure; the threads are divided evenly among the workers."""
    doubling = {2**power for power in range(7) if 2**power <= cores} | {min(cores, 64)}
    return [
        (total, share)
        for total in (sorted(doubling) if threads == "auto" else [threads])
        for share in (range(1, min(total, _MAX_WORKERS) + 1) if workers == "auto" else [workers])
        if total % share == 0
    ] or [(int(workers), int(workers))]


def _rate(bundle: ModelBundle, *, workers: int, threads: int, stopping: threading.Event) -> float:
    detectors = [Detector(bundle, DetectorOptions(threads=threads)) for _ in range(workers)]
    width, height = detectors[0].input_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    prepared = detectors[0].prepare(noise)
    ready = threading.Barrier(workers)

    def infer(detector: Detector) -> float:
        ready.wait()
        started, count = time.perf_counter(), 0
        while not count or (not stopping.is_set() and time.perf_counter() - started < _MEASURE_S):
            detector.infer(prepared)
            count += 1
        return count / (time.perf_counter() - started)

    with ThreadPoolExecutor(workers, thread_name_prefix="measure") as pool:
        return sum(pool.map(infer, detectors))


def _read(path: Path) -> WorkerChoice | None:
    try:
        return WorkerChoice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None  # measure again


def _write(path: Path, choice: WorkerChoice) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, [choice.model_dump_json(indent=2).encode(), b"\n"], mode=0o644)
    except OSError as error:
        _LOG.warning("workers: %s cannot be written (%s); the next start measures again", path, error.strerror)
