"""Runs archive workers in processes of this machine."""

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
    """A video whose worker process has ended: a decoder may crash, or the memory may be used up.

    Attributes:
        file: the video, relative to the folder of the archive.
        problem: what happened.
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
    """Yield the counts of each video as it is done, in any order.

    A worker process that ends is replaced, and the other videos go on. The processes end with the iteration, and when
    this process ends in whatever way.

    Args:
        folder: of the archive.
        videos: relative to the folder.
        options: how to count.
        workers: number of processes, 1 or more.

    Raises:
        BeeagentError: the model or an option cannot be used.
    """
    left, running = deque(videos), list[_Process]()
    try:
        while left or running:
            while left and len(running) < workers:
                running.append(_started(folder, options, left.popleft()))
            ready = wait([each.connection for each in running])
            for each in [one for one in running if one.connection in ready]:
                file = each.file
                try:
                    result = each.connection.recv()
                except (EOFError, OSError):
                    running.remove(each)
                    each.process.join()
                    yield CrashedVideo(file, f"video {folder / file}: {_how_ended(each.process.exitcode)}")
                    continue
                if isinstance(result, Exception):
                    raise result
                if left:
                    _give(each, left.popleft())
                else:
                    running.remove(each)
                    each.connection.close()
                    each.process.join()
                yield result
    finally:
        for each in running:
            each.process.kill()
            each.process.join()


def _started(folder: Path, options: ArchiveOptions, file: str) -> _Process:
    # Spawned, not forked: this process may have threads, and a worker must not hold the other workers' connections.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, folder, options), daemon=True)
    process.start()
    theirs.close()
    started = _Process(process, ours, file)
    _give(started, file)
    return started


def _give(process: _Process, file: str) -> None:
    process.file = file
    with contextlib.suppress(BrokenPipeError):  # it has ended, which the next `recv` notices
        process.connection.send(file)


def _work(connection: Connection, folder: Path, options: ArchiveOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the terminal: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("beeagent").setLevel(logging.ERROR)  # the problems of videos are listed at the end
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


def _how_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its worker process was ended by the signal {signal.Signals(-code).name}"
    return f"its worker process has ended with exit code {code}"
