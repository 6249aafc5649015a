"""`ArchiveWorker` in cluster engines; tests are skipped if the engine is not installed."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent_models.archive import Archive, ArchiveOptions, ArchiveWorker, VideoCounts
from support.tiny_models import square_finder

pytestmark = pytest.mark.timeout(300)  # an engine starts processes of its own


@pytest.fixture
def options(tmp_path: Path) -> ArchiveOptions:
    (tmp_path / "tiny.tflite").write_bytes(square_finder())
    (tmp_path / "tiny.txt").write_text("red\n", encoding="utf-8")
    return ArchiveOptions(model=str(tmp_path / "tiny.tflite"), labels=str(tmp_path / "tiny.txt"), interval_s=1)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    for number in range(3):
        writer = cv2.VideoWriter(
            str(tmp_path / "recordings" / f"{number}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64)
        )
        for index in range(15 + number):
            pixels = np.full((64, 64, 3), 40, dtype=np.uint8)
            if index % (number + 1) == 0:
                pixels[8:16, 8:16] = (0, 0, 255)
            writer.write(pixels)
        writer.release()
    (tmp_path / "recordings" / "broken.avi").write_bytes(b"not a video")
    return tmp_path / "recordings"


@pytest.fixture
def expected(recordings: Path, options: ArchiveOptions) -> list[VideoCounts]:
    """The counts of each video from a worker in this process."""
    worker = ArchiveWorker(recordings, options)
    counts = [worker(video) for video in ("0.avi", "1.avi", "2.avi", "broken.avi")]
    assert [(len(each.rows), each.problem is None) for each in counts] == [(2, True)] * 3 + [(0, False)]
    return counts


def same_files(tmp_path: Path, recordings: Path, options: ArchiveOptions, *both: list[VideoCounts]) -> bool:
    """Store the counts from one machine and from an engine; return whether the results are identical."""
    contents = []
    for number, all_counts in enumerate(both):
        archive = Archive(recordings, tmp_path / f"out{number}", options)
        for counts in all_counts:
            archive.store(counts)
        assert archive.pending() == []
        files = (path for path in archive.out.rglob("*") if path.is_file())
        contents.append({path.relative_to(archive.out): path.read_bytes() for path in files})
    return contents[0] == contents[1]


def test_ray_actors(tmp_path: Path, recordings: Path, options: ArchiveOptions, expected: list[VideoCounts]) -> None:
    ray = pytest.importorskip("ray")
    pools = pytest.importorskip("ray.util")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1)(ArchiveWorker)
        pool = pools.ActorPool([remote.remote(recordings, options) for _ in range(2)])
        videos = [counts.file for counts in expected]
        found = list(pool.map_unordered(lambda worker, video: worker.__call__.remote(video), videos))
    finally:
        ray.shutdown()
    assert sorted(found, key=lambda counts: counts.file) == expected
    assert same_files(tmp_path, recordings, options, expected, found)


def test_dask_bag(tmp_path: Path, recordings: Path, options: ArchiveOptions, expected: list[VideoCounts]) -> None:
    distributed = pytest.importorskip("distributed")
    dask_bag = pytest.importorskip("dask.bag")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        videos = [counts.file for counts in expected]

        def count(videos: Iterator[str]) -> list[VideoCounts]:
            worker = ArchiveWorker(recordings, options)  # once per partition
            return [worker(video) for video in videos]

        bag = dask_bag.from_sequence(videos, partition_size=2).map_partitions(count)
        parts = distributed.as_completed(client.compute(bag.to_delayed()))
        found = [counts for part in parts for counts in part.result()]
    assert sorted(found, key=lambda counts: counts.file) == expected
    assert same_files(tmp_path, recordings, options, expected, found)


def test_spark_map_in_pandas(
    monkeypatch: pytest.MonkeyPatch, recordings: Path, options: ArchiveOptions, expected: list[VideoCounts]
) -> None:
    sql = pytest.importorskip("pyspark.sql")
    pandas = pytest.importorskip("pandas")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    columns = list(options.columns)

    def count(batches: Iterator[Any]) -> Iterator[Any]:
        worker = ArchiveWorker(recordings, options)  # once per partition
        for batch in batches:
            for video in batch["video"]:
                yield pandas.DataFrame(worker(video).rows, columns=columns)

    names = {str: "string", int: "bigint", float: "double"}
    schema = ", ".join(f"`{name}` {names[kind]}" for name, kind in options.columns.items())
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.getOrCreate()
    try:
        videos = spark.createDataFrame([(counts.file,) for counts in expected], "video string").repartition(2)
        found = [row.asDict() for row in videos.mapInPandas(count, schema=schema).collect()]
    finally:
        spark.stop()
    assert sorted(found, key=lambda row: (row["file"], row["position_s"])) == [
        row for counts in expected for row in counts.rows
    ]
