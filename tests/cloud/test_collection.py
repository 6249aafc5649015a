"""Collected frames: complete images with their manifest lines, within the quota, despite failures."""

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud import Collection, EdgeResult
from beeagent.cloud.collection_store import ManifestLine, append_line, format_line, parse_line
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent_models.datasets.reading import check_dataset, read_dataset
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_disk import tiny_disk

START = datetime(2026, 5, 4, 10, 0, tzinfo=timezone.utc)


def detections(*boxes: tuple[float, float, float, float], labels: tuple[str, ...] = ("bee", "wasp")) -> Detections:
    count = len(boxes)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(array, np.full(count, 0.75, np.float32), np.zeros(count, np.int64), labels)


CLOUD = detections((0.1, 0.1, 0.2, 0.3), (0.5, 0.5, 1.0, 1.0))
EDGE = EdgeResult(CLOUD, above_threshold=1, model="bees-lite0@3f9c21d0")


def frame(index: int, *, width: int = 320, height: int = 160, grainy: bool = False) -> Frame:
    pixels = np.full((height, width, 3), index % 256, np.uint8)
    if grainy:
        pixels = np.random.default_rng(index).integers(0, 256, pixels.shape, np.uint8)
    return Frame(pixels, START + timedelta(seconds=index), 0, index)


@contextmanager
def collecting(
    folder: Path, *, megabytes: float = 10.0, longest_side: int = 160, spare_megabytes: float = 100.0
) -> Iterator[Collection]:
    collection = Collection(
        folder,
        megabytes=megabytes,
        longest_side=longest_side,
        quality=85,
        origin="hive-7/front",
        spare_megabytes=spare_megabytes,
    )
    try:
        yield collection
    finally:
        collection.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "output.manifest").read_text().splitlines()]


def images(folder: Path) -> set[str]:
    return {f"images/{path.name}" for path in (folder / "images").iterdir()}


def test_collection_is_a_dataset_with_the_boxes_of_both_models(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        collection.add(frame(0), EDGE, CLOUD)
        collection.add(frame(1), EDGE, detections())
        assert collection.counts.images == 2
        assert collection.fault is None
    assert list(check_dataset(f"{tmp_path}/collected/output.manifest")) == []
    dataset = read_dataset(tmp_path / "collected")
    assert dataset.labels == ("bee", "wasp")
    assert [(image.width, image.height) for image in dataset.images] == [(160, 80)] * 2
    assert dataset.images[0].boxes.tolist() == [[16, 8, 32, 24], [80, 40, 160, 80]]
    assert len(dataset.images[1].boxes) == 0
    line = lines(tmp_path / "collected")[0]
    assert line["bees-metadata"]["human-annotated"] == "no"
    assert line["bees-metadata"]["objects"] == [{"confidence": 0.75}] * 2
    assert line["bees-metadata"]["job-name"] == "beeagent-collect/hive-7/front"
    assert line["bees-metadata"]["creation-date"].endswith("Z")
    assert len(line["edge"]["annotations"]) == 2
    assert line["edge"]["annotations"][0] == {"class_id": 0, "left": 16, "top": 8, "width": 16, "height": 16}
    assert line["edge-metadata"] == {
        "objects": [{"confidence": 0.75, "told": True}, {"confidence": 0.75, "told": False}],
        "class-map": {"0": "bee", "1": "wasp"},
        "human-annotated": "no",
        "type": "beeagent/edge-detection",
        "creation-date": "2026-05-04T10:00:00.000000Z",
        "job-name": "beeagent/bees-lite0@3f9c21d0",
    }
    edge = read_dataset(tmp_path / "collected", label_attribute="edge")
    assert [len(image.boxes) for image in edge.images] == [2, 2]


def test_label_numbers_do_not_depend_on_label_order(tmp_path: Path) -> None:
    box = (0.1, 0.1, 0.2, 0.3)
    for labels in (("bee", "wasp"), ("bee", "hornet"), ("wasp", "bee")):
        with collecting(tmp_path / "collected") as collection:
            collection.add(frame(len(labels[1])), EDGE, detections(box, labels=labels))
            collection.add(frame(10 + len(labels[1])), EDGE, detections(box, labels=labels[::-1]))
    dataset = read_dataset(tmp_path / "collected")
    assert dataset.labels == ("bee", "wasp", "hornet")
    named = [dataset.labels[int(image.class_ids[0])] for image in dataset.images]
    assert named == ["bee", "wasp", "bee", "hornet", "wasp", "bee"]


def modes(folder: Path) -> set[tuple[str, int]]:
    return {(path.name, stat.S_IMODE(path.stat().st_mode)) for path in (folder, folder / "images")} | {
        ("file", stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*") if path.is_file()
    }


def test_only_the_owner_can_read_folder_and_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with collecting(tmp_path / "new") as collection:
            collection.add(frame(0), EDGE, CLOUD)
        (tmp_path / "open").mkdir(mode=0o755)
        with collecting(tmp_path / "open", megabytes=0.004) as collection:
            for number in range(4):  # the manifest is rewritten, too
                collection.add(frame(number), EDGE, CLOUD)
            assert collection.counts.images < 4
    finally:
        os.umask(before)
    assert modes(tmp_path / "new") == {("new", 0o700), ("images", 0o700), ("file", 0o600)}
    assert modes(tmp_path / "open") == {("open", 0o700), ("images", 0o700), ("file", 0o600)}


def test_full_quota_removes_the_oldest_frames_also_across_restarts(tmp_path: Path) -> None:
    for start in (0, 200):
        with collecting(tmp_path / "collected", megabytes=1) as collection:
            for number in range(start, start + 200):
                collection.add(frame(number, grainy=True), EDGE, CLOUD)
                assert collection.counts.megabytes <= 1
            assert collection.fault is None
            size = round(collection.counts.megabytes * 1e6)
    kept = lines(tmp_path / "collected")
    on_disk = sum(path.stat().st_size for path in (tmp_path / "collected").rglob("*.*") if path.is_file())
    assert on_disk == size
    assert on_disk > 900_000
    assert images(tmp_path / "collected") == {line["source-ref"] for line in kept}
    newest = [f"-{number}.jpg" for number in range(400 - len(kept), 400)]
    assert [line["source-ref"].endswith(end) for line, end in zip(kept, newest, strict=True)] == [True] * len(kept)


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_truncated_line_and_its_image_are_removed(tmp_path: Path, cut: int) -> None:
    with collecting(tmp_path / "collected") as collection:
        for number in range(3):
            collection.add(frame(number), EDGE, CLOUD)
    manifest = tmp_path / "collected" / "output.manifest"
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    (tmp_path / "collected" / "images" / ".20260504T100009.000000Z-9.jpg.partial").write_bytes(b"half")
    with collecting(tmp_path / "collected") as collection:
        assert collection.counts.images == 2
        collection.add(frame(5), EDGE, CLOUD)
    assert [line["source-ref"][-5] for line in lines(tmp_path / "collected")] == ["0", "1", "5"]
    assert images(tmp_path / "collected") == {line["source-ref"] for line in lines(tmp_path / "collected")}
    assert list(check_dataset(str(manifest))) == []


@pytest.mark.parametrize("damage", [b"\0" * 700, b'{"sour\0\0\0\0', b'{"source-ref": "images/2026\xff'])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_damaged_line_is_removed(tmp_path: Path, damage: bytes, end: bytes) -> None:
    with collecting(tmp_path / "collected") as collection:
        for number in range(3):
            collection.add(frame(number), EDGE, CLOUD)
    manifest = tmp_path / "collected" / "output.manifest"
    first, _, third = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(first + damage + end + (third if end else b""))
    left = 2 if end else 1
    with collecting(tmp_path / "collected") as collection:
        assert collection.fault is None
        assert collection.counts.images == left
        collection.add(frame(5), EDGE, CLOUD)
    assert len(lines(tmp_path / "collected")) == left + 1
    assert list(check_dataset(str(manifest))) == []


def test_empty_image_is_removed(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        for number in range(2):
            collection.add(frame(number), EDGE, CLOUD)
    (tmp_path / "collected" / lines(tmp_path / "collected")[0]["source-ref"]).write_bytes(b"")
    with collecting(tmp_path / "collected") as collection:
        assert collection.counts.images == 1
    assert list(check_dataset(f"{tmp_path}/collected/output.manifest")) == []


def test_line_without_its_image_is_removed(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        for number in range(3):
            collection.add(frame(number), EDGE, CLOUD)
    (tmp_path / "collected" / lines(tmp_path / "collected")[1]["source-ref"]).unlink()
    with collecting(tmp_path / "collected") as collection:
        assert collection.counts.images == 2
    assert list(check_dataset(f"{tmp_path}/collected/output.manifest")) == []


def test_crash_before_the_first_line_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "20260504T100009.000000Z-9.jpg").write_bytes(b"whole")
    with collecting(tmp_path) as collection:
        assert collection.counts.images == 0
    assert images(tmp_path) == set()


def test_folder_with_other_contents_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"images/mine.jpg was not collected by beeagent"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    (tmp_path / "output.manifest").write_text('{"source-ref": "images/mine.jpg"}\n')
    with pytest.raises(InputError, match="has a line 1 that beeagent did not write"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    (tmp_path / "output.manifest").write_text('{"source-ref": "images/mine.jpg"}')
    with pytest.raises(InputError, match="has a line 1 that beeagent did not write"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    assert (tmp_path / "images" / "mine.jpg").read_bytes() == b"mine"
    assert (tmp_path / "output.manifest").read_text() == '{"source-ref": "images/mine.jpg"}'


def test_home_folder_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains letter.txt, which was not collected: use a separate folder"):
        Collection(tmp_path / "home", megabytes=1, longest_side=64, quality=85, origin="a/b")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        collecting(tmp_path),
        pytest.raises(InputError, match="another beeagent collects there"),
        collecting(tmp_path),
    ):
        pass
    with collecting(tmp_path) as collection:
        assert collection.counts.images == 0


def test_frame_larger_than_the_quota_is_reported_and_the_next_one_collected(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected", megabytes=0.02, longest_side=1000) as collection:
        collection.add(frame(0, width=1000, height=1000, grainy=True), EDGE, CLOUD)
        assert collection.fault is not None
        assert "larger than the quota of 0.02 MB" in collection.fault
        collection.add(frame(1), EDGE, CLOUD)
        assert collection.fault is None
        assert collection.counts.images == 1


def test_missing_folder_loses_frames_only(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        collection.add(frame(0), EDGE, CLOUD)
        (tmp_path / "collected" / "images").rename(tmp_path / "away")
        collection.add(frame(1), EDGE, CLOUD)
        assert collection.fault is not None
        assert "No such file" in collection.fault
        (tmp_path / "away").rename(tmp_path / "collected" / "images")
        collection.add(frame(2), EDGE, CLOUD)
        assert collection.fault is None
    assert len(lines(tmp_path / "collected")) == 2
    assert list(check_dataset(f"{tmp_path}/collected/output.manifest")) == []


def test_deleted_folder_is_created_again(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        collection.add(frame(0), EDGE, CLOUD)
        shutil.rmtree(tmp_path / "collected")
        for number in range(1, 4):
            collection.add(frame(number), EDGE, CLOUD)
        assert collection.fault is None
        kept = collection.counts.images
    assert kept >= 2  # the frame that finds the folder gone may be lost
    assert len(lines(tmp_path / "collected")) == kept
    assert list(check_dataset(f"{tmp_path}/collected/output.manifest")) == []


def test_manifest_changed_by_a_person_is_loaded_again(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        for number in range(3):
            collection.add(frame(number), EDGE, CLOUD)
        manifest = tmp_path / "collected" / "output.manifest"
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[1:]))
        collection.add(frame(3), EDGE, CLOUD)
        assert collection.counts.images == 3
    assert [line["source-ref"][-5] for line in lines(tmp_path / "collected")] == ["1", "2", "3"]
    assert images(tmp_path / "collected") == {line["source-ref"] for line in lines(tmp_path / "collected")}


def test_missing_disk_loses_frames_until_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "stick").symlink_to(tmp_path / "unplugged")
    with collecting(tmp_path / "stick" / "collected") as collection:
        assert collection.fault is not None
        collection.add(frame(0), EDGE, CLOUD)
        assert collection.fault is not None
        (tmp_path / "unplugged").mkdir()
        collection.add(frame(1), EDGE, CLOUD)
        assert collection.fault is None
    assert [line["source-ref"][-5] for line in lines(tmp_path / "unplugged" / "collected")] == ["1"]


def test_full_disk_loses_frames_and_leaves_the_dataset_intact(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=1024) as disk:
        with collecting(disk.seen / "collected", spare_megabytes=0) as collection:
            collection.add(frame(0, grainy=True), EDGE, CLOUD)
            disk.fill()
            for number in range(1, 30):  # a small one may still fit into the rest of a block
                collection.add(frame(number, grainy=True), EDGE, CLOUD)
            assert collection.fault is not None
            assert "No space left" in collection.fault
            assert len(lines(disk.seen / "collected")) == collection.counts.images < 30
            assert images(disk.seen / "collected") == {line["source-ref"] for line in lines(disk.seen / "collected")}
            disk.empty()
            collection.add(frame(30), EDGE, CLOUD)
            assert collection.fault is None
        assert lines(disk.seen / "collected")[-1]["source-ref"].endswith("-30.jpg")
        assert list(check_dataset(str(disk.seen / "collected" / "output.manifest"))) == []


def test_line_that_does_not_fit_on_the_disk_leaves_the_manifest_unchanged(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=256) as disk:
        append_line(disk.seen / "manifest", b"first\n")
        disk.fill()  # but for the rest of the first line's block
        with pytest.raises(OSError, match="No space left"):
            append_line(disk.seen / "manifest", b"x" * 10_000 + b"\n")
        assert (disk.seen / "manifest").read_bytes() == b"first\n"


def test_disk_with_little_free_space_is_not_filled(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=4096) as disk, collecting(disk.seen / "collected") as collection:
        collection.add(frame(0), EDGE, CLOUD)
        assert collection.fault is not None
        assert "less than 100 MB are free on the disk, and those are reserved" in collection.fault
        assert images(disk.seen / "collected") == set()


def test_hanging_disk_does_not_block_the_status(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        collection.add(frame(0), EDGE, CLOUD)
        image = tmp_path / "collected" / "images" / ".20260504T100001.000000Z-1.jpg.partial"
        os.mkfifo(image)  # to open it for writing waits for a reader
        thread = threading.Thread(target=collection.add, args=(frame(1), EDGE, CLOUD), daemon=True)
        thread.start()
        while not collection._adding.locked():
            assert thread.is_alive()
        assert collection.counts.images == 1
        assert collection.fault is None
        assert thread.is_alive()
        image.read_bytes()
        thread.join(60)
        assert not thread.is_alive()


ratios = st.floats(0, 1, width=32)


@given(
    boxes=st.lists(st.tuples(ratios, ratios, ratios, ratios), max_size=5),
    size=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_any_boxes_are_written_within_the_image_and_not_empty(
    boxes: list[tuple[float, float, float, float]], size: tuple[int, int]
) -> None:
    upright = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    line = format_line(
        "images/x.jpg",
        size=size,
        edge=EdgeResult(detections(*upright), 0, "m"),
        cloud=detections(*upright),
        captured_at=START,
        collected_at=START,
        origin="a/b",
        classes={"bee": 0, "wasp": 1},
    )
    assert parse_line(line.encode()) == ManifestLine("images/x.jpg", {"bee": 0, "wasp": 1})
    row = json.loads(line)
    for box in [*row["bees"]["annotations"], *row["edge"]["annotations"]]:
        assert box["left"] >= 0
        assert box["top"] >= 0
        assert 1 <= box["width"] <= size[0] - box["left"]
        assert 1 <= box["height"] <= size[1] - box["top"]


@given(st.binary())
def test_any_other_line_is_not_parsed(line: bytes) -> None:
    assert parse_line(line) is None


def test_images_have_the_size_that_is_sent(tmp_path: Path) -> None:
    with collecting(tmp_path / "collected") as collection:
        collection.add(frame(40), EDGE, CLOUD)
    (image,) = (tmp_path / "collected" / "images").iterdir()
    pixels = cv2.imread(str(image))
    assert pixels is not None
    assert pixels.shape == (80, 160, 3)
    assert int(pixels.mean()) == 40
