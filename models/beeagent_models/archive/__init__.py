"""Counts of the detections in archives of recordings: a few rows per video, on one machine or a cluster.

An `ArchiveWorker` processes a video and returns `VideoCounts`; local processes, Ray, Dask or Spark run it. An `Archive`
lists the pending videos and writes one file of results per video.
"""

from typing import TYPE_CHECKING

from beeagent import lazy_exports

if TYPE_CHECKING:
    from beeagent_models.archive.archive import Archive, find_videos
    from beeagent_models.archive.formats import ResultFormat
    from beeagent_models.archive.worker import ArchiveOptions, ArchiveWorker, VideoCounts
else:  # a type checker would accept any name
    __getattr__ = lazy_exports(
        __name__,
        {
            "archive": ("Archive", "find_videos"),
            "formats": ("ResultFormat",),
            "worker": ("ArchiveOptions", "ArchiveWorker", "VideoCounts"),
        },
    )

__all__ = ["Archive", "ArchiveOptions", "ArchiveWorker", "ResultFormat", "VideoCounts", "find_videos"]
