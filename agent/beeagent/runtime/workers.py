"""`--threads auto` and `--workers auto`: measured at the first start and kept."""

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
"""Ratio of the best rate that is enough: a further thread takes a core from the rest of the agent, and a further worker
costs memory and delays each result."""

_Threads = Annotated[int, Field(ge=1, le=64)]
_Workers = Annotated[int, Field(ge=1, le=_MAX_WORKERS)]


class WorkerChoice(BaseModel):
    """The content of the file `…workers.json`, for one model and the settings of threads and workers on one machine.

    Attributes:
        model: identity of the model.
        runtime: the TFLite runtime.
        cores: CPU cores of the machine.
        wanted: the settings `threads` and `workers`.
        frames_per_s: inferences per second by number of threads, and by number of workers that share them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    runtime: str
    cores: int
    wanted: tuple[_Threads | Literal["auto"], int | Literal["auto"]]
    frames_per_s: Annotated[dict[_Threads, Annotated[dict[_Workers, float], Field(min_length=1)]], Field(min_length=1)]

    @property
    def threads(self) -> int:
        """The fewest threads that reach almost the best rate."""
        return self._best[0]

    @property
    def workers(self) -> int:
        """The fewest workers that reach almost the best rate on these threads."""
        return self._best[1]

    @property
    def _best(self) -> tuple[int, int]:
        rates = {(threads, n): rate for threads, by_n in self.frames_per_s.items() for n, rate in by_n.items()}
        best = max(rates.values())
        return min(numbers for numbers, rate in rates.items() if rate >= _ENOUGH * best)

    def __str__(self) -> str:
        """Return the choice and the rates for people."""
        several = len(self.frames_per_s) > 1
        rates = [
            f"{rate:.1f} with {workers}" + (f" on {threads}" if several else "")
            for threads, by_workers in sorted(self.frames_per_s.items())
            for workers, rate in sorted(by_workers.items())
        ]
        return f"{self.workers} frame(s) in parallel on {self.threads} thread(s); frames/s measured: {', '.join(rates)}"


def choose_workers(settings: Settings, bundle: ModelBundle, *, stopping: threading.Event | None = None) -> WorkerChoice:
    """Return the choice of the state directory or, if it is of another model or machine, measure and keep it.

    Args:
        settings: `threads` and `workers`, of which one or both are `auto`, and the state directory. With threads, also
            workers are chosen where they are not set.
        bundle: the model.
        stopping: when set, the measurement ends, and its result is not kept.

    Raises:
        InputError: there is no state directory, or the model cannot be used.
        BeeagentError: there is no working TFLite runtime.
    """
    path = settings.state_file("workers.json")
    cores = os.cpu_count() or 1
    wanted = (settings.model.threads, "auto" if settings.model.workers is None else settings.model.workers)
    key = {"model": bundle.identity, "runtime": runtime_name(), "cores": cores, "wanted": wanted}
    kept = _read(path)
    if kept is not None and kept.model_dump(exclude={"frames_per_s"}) == key:
        return kept
    stopping = stopping or threading.Event()
    rates: dict[int, dict[int, float]] = {}
    for threads, workers in _candidates(*wanted, cores=cores):
        if not (rates and stopping.is_set()):
            rate = _rate(bundle, workers=workers, threads=threads // workers, stopping=stopping)
            rates.setdefault(threads, {})[workers] = rate
    choice = WorkerChoice.model_validate({**key, "frames_per_s": rates})
    if not stopping.is_set():
        _write(path, choice)
        _LOG.info("workers: %s", choice)
    return choice


def _candidates(threads: int | Literal["auto"], workers: int | Literal["auto"], *, cores: int) -> list[tuple[int, int]]:
    """Return the numbers of threads and workers to measure; workers split the threads evenly."""
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
