"""`beeagent archive`: counts the detections in the videos of a folder."""

import os
from collections.abc import Callable
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.archive.archive import Archive
from beeagent_models.archive.formats import ResultFormat
from beeagent_models.archive.pool import CrashedVideo, count_videos
from beeagent_models.archive.worker import ArchiveOptions
from beeagent_models.progress import step_progress


def run_archive(  # noqa: PLR0913
    *,
    folder: Path,
    out: Path,
    options: ArchiveOptions,
    result_format: ResultFormat,
    workers: int | None,
    write: Callable[[str], None],
    write_summary: Callable[[str], None],
) -> bool:
    """Count the detections in the videos without results.

    Args:
        folder: folder of the recordings.
        out: folder of the results.
        options: options of the counting.
        result_format: format of the results.
        workers: number of worker processes; None for one per processor core.
        write: called with each problem of a video, at the end.
        write_summary: called with the summary.

    Returns:
        True if all videos could be read completely.

    Raises:
        InputError: an option, a folder or the model cannot be used.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: give 1 or more")
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    archive = Archive(folder, out, options, result_format=result_format)
    pending = archive.pending()
    crashed = []
    with step_progress("counting", len(archive.videos)) as step:
        for _ in range(len(archive.videos) - len(pending)):
            step()
        for counts in count_videos(folder, pending, options, workers=min(workers, len(pending))):
            if isinstance(counts, CrashedVideo):
                crashed.append(counts.problem)
            else:
                archive.store(counts)
            step()
    problems = sorted([*archive.problems(), *crashed])
    for problem in problems:
        write(problem)
    found = len(archive.videos)
    write_summary(
        f"{out}: {found} video{'' if found == 1 else 's'}, {found - len(pending)} of them already done, "
        f"{len(problems)} with a problem"
    )
    return not problems
