"""Runs archive workers in local processes."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from beeagent_models.archive.worker import ArchiveOptions, ArchiveWorker, VideoCounts


@dataclass(frozen=True, slots=True)
class CrashedVideo:
    """A video whose worker process ended, for example by a crash of the decoder or for lack of memory.

    Attributes:
        file: path of the video, relative to the folder of the archive.
        problem: description of the problem.
    """

    file: str
    problem: str


@dataclass(slots=True)
class _Process:
    process: BaseProcess
    connection: Connection
    file: str


def count_videos(
    folder: Path, videos: Sequence[str], options: ArchiveOptions, *, workers: int
) -> Iterator[VideoCounts | CrashedVideo]:
    """Yield the counts of the videos in order of completion.

    A worker process that ends is replaced. The worker processes end with the iteration, and with this process.

    Args:
        folder: folder of the archive.
        videos: paths of the videos, relative to the folder.
        options: options of the counting.
        workers: number of processes, 1 or more.

    Raises:
        BeeagentError: the model or an option cannot be used.
    """
    pending, running = deque(videos), list[_Process]()
    try:
        while pending or running:
            while pending and len(running) < workers:
                running.append(_start(folder, options, pending.popleft()))
            ready = wait([each.connection for each in running])
            for each in [one for one in running if one.connection in ready]:
                file = each.file
                try:
                    result = each.connection.recv()
                except (EOFError, OSError):
                    running.remove(each)
                    each.process.join()
                    yield CrashedVideo(file, f"video {folder / file}: {_exit_reason(each.process.exitcode)}")
                    continue
                if isinstance(result, Exception):
                    raise result
                if pending:
                    _assign(each, pending.popleft())
                else:
                    running.remove(each)
                    each.connection.close()
                    each.process.join()
                yield result
    finally:
        for each in running:
            each.process.kill()
            each.process.join()


def _start(folder: Path, options: ArchiveOptions, file: str) -> _Process:
    # Spawned, because this process may have threads, and workers must not inherit the connections of the others.
    context = multiprocessing.get_context("spawn")
    connection, worker_connection = context.Pipe()
    process = context.Process(target=_work, args=(worker_connection, folder, options), daemon=True)
    process.start()
    worker_connection.close()
    started = _Process(process, connection, file)
    _assign(started, file)
    return started


def _assign(process: _Process, file: str) -> None:
    process.file = file
    with contextlib.suppress(BrokenPipeError):  # the process has ended, which the next `recv` reports
        process.connection.send(file)


def _work(connection: Connection, folder: Path, options: ArchiveOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to all processes; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("beeagent").setLevel(logging.ERROR)  # problems of videos are printed at the end
    try:
        worker = ArchiveWorker(folder, options)
        while True:
            connection.send(worker(connection.recv()))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - raised again in the parent process
        with contextlib.suppress(OSError):  # the parent has ended
            connection.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its worker process was killed by the signal {signal.Signals(-code).name}"
    return f"its worker process ended with exit code {code}"
