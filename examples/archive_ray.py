"""Count the bees in a folder of recordings on a Ray cluster: one video per task, a few kilobytes of Parquet out

    pip install ray pyarrow
    python archive_ray.py /mnt/recordings /mnt/counts --workers 64 --address auto

Each machine of the cluster needs beeagent, and the recordings at the same path. Run the same command again after
whatever ended it: videos with results are skipped. The results are those of `beeagent archive`, byte by byte.
"""

import argparse
from pathlib import Path

import ray
from beeagent_models.archive import Archive, ArchiveOptions, ArchiveWorker, ResultFormat
from ray.util import ActorPool

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path, help="the recordings")
parser.add_argument("out", type=Path, help="the results")
parser.add_argument("--workers", type=int, default=2, help="actors, each with one processor core")
parser.add_argument("--address", help="of the cluster, such as auto; without, Ray starts on this machine")
parser.add_argument("--rate", type=float, help="frames to process per second of the video; without, all")
parser.add_argument("--format", default="parquet", choices=["csv", "parquet"])
arguments = parser.parse_args()

options = ArchiveOptions(rate=arguments.rate)
archive = Archive(arguments.folder.absolute(), arguments.out, options, result_format=ResultFormat(arguments.format))
videos = archive.pending()
print(f"{len(videos)} of {len(archive.videos)} videos are left")

ray.init(address=arguments.address, include_dashboard=False)
# The model is loaded once per actor. Where a machine is lost, Ray starts the actor elsewhere and repeats the video.
Worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)(ArchiveWorker)
pool = ActorPool([Worker.remote(archive.folder, options) for _ in range(min(arguments.workers, len(videos)))])
for counts in pool.map_unordered(lambda worker, video: worker.__call__.remote(video), videos):
    archive.store(counts)
    print(f"{counts.file}: {len(counts.rows)} rows")

for problem in archive.problems():
    print(problem)
