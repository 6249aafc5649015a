"""The frames that are kept to train on: whole pictures with their lines, within the quota, whatever happens."""

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
from beeagent.cloud.collected_line import CollectedLine, EdgeAnswer, collected_line, read_collected_line
from beeagent.cloud.collection import Collection
from beeagent.cloud.collection_files import append_line
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from beeagent_models.datasets.checking import check_dataset
from beeagent_models.datasets.reading import read_dataset
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_disk import tiny_disk

START = datetime(2026, 5, 4, 10, 0, tzinfo=timezone.utc)


def found(*boxes: tuple[float, float, float, float], labels: tuple[str, ...] = ("bee", "wasp")) -> Detections:
    count = len(boxes)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(array, np.full(count, 0.75, np.float32), np.zeros(count, np.int64), labels)


EDGE = EdgeAnswer(found((0.1, 0.1, 0.2, 0.3), (0.5, 0.5, 1.0, 1.0)), told=1, model="bees-lite0@3f9c21d0")
CLOUD = found((0.1, 0.1, 0.2, 0.3), (0.5, 0.5, 1.0, 1.0))


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


def pictures(folder: Path) -> set[str]:
    return {f"images/{path.name}" for path in (folder / "images").iterdir()}


def test_what_is_kept_is_a_data_set_with_the_clouds_boxes_and_the_edges_beside_them(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        collection.keep(frame(0), EDGE, CLOUD)
        collection.keep(frame(1), EDGE, found())
        assert collection.counts.pictures == 2
        assert collection.fault is None
    assert list(check_dataset(f"{tmp_path}/kept/output.manifest")) == []
    dataset = read_dataset(tmp_path / "kept")
    assert dataset.labels == ("bee", "wasp")
    assert [(image.width, image.height) for image in dataset.images] == [(160, 80)] * 2
    assert dataset.images[0].boxes.tolist() == [[16, 8, 32, 24], [80, 40, 160, 80]]
    assert len(dataset.images[1].boxes) == 0
    line = lines(tmp_path / "kept")[0]
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
    edge = read_dataset(tmp_path / "kept", label_attribute="edge")
    assert [len(image.boxes) for image in edge.images] == [2, 2]


def test_a_label_has_one_number_whichever_the_cloud_model_names_first(tmp_path: Path) -> None:
    box = (0.1, 0.1, 0.2, 0.3)
    for labels in (("bee", "wasp"), ("bee", "hornet"), ("wasp", "bee")):
        with collecting(tmp_path / "kept") as collection:
            collection.keep(frame(len(labels[1])), EDGE, found(box, labels=labels))
            collection.keep(frame(10 + len(labels[1])), EDGE, found(box, labels=labels[::-1]))
    dataset = read_dataset(tmp_path / "kept")
    assert dataset.labels == ("bee", "wasp", "hornet")
    named = [dataset.labels[int(image.class_ids[0])] for image in dataset.images]
    assert named == ["bee", "wasp", "bee", "hornet", "wasp", "bee"]


def modes(folder: Path) -> set[tuple[str, int]]:
    return {(path.name, stat.S_IMODE(path.stat().st_mode)) for path in (folder, folder / "images")} | {
        ("file", stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*") if path.is_file()
    }


def test_folder_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with collecting(tmp_path / "new") as collection:
            collection.keep(frame(0), EDGE, CLOUD)
        (tmp_path / "open").mkdir(mode=0o755)
        with collecting(tmp_path / "open", megabytes=0.004) as collection:
            for number in range(4):  # the manifest is written anew, too
                collection.keep(frame(number), EDGE, CLOUD)
            assert collection.counts.pictures < 4
    finally:
        os.umask(before)
    assert modes(tmp_path / "new") == {("new", 0o700), ("images", 0o700), ("file", 0o600)}
    assert modes(tmp_path / "open") == {("open", 0o700), ("images", 0o700), ("file", 0o600)}


def test_the_oldest_go_when_the_quota_is_full_and_it_holds_across_restarts(tmp_path: Path) -> None:
    for start in (0, 200):
        with collecting(tmp_path / "kept", megabytes=1) as collection:
            for number in range(start, start + 200):
                collection.keep(frame(number, grainy=True), EDGE, CLOUD)
                assert collection.counts.megabytes <= 1
            assert collection.fault is None
            told = round(collection.counts.megabytes * 1e6)
    kept = lines(tmp_path / "kept")
    on_disk = sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*.*") if path.is_file())
    assert on_disk == told
    assert on_disk > 900_000
    assert pictures(tmp_path / "kept") == {line["source-ref"] for line in kept}
    newest = [f"-{number}.jpg" for number in range(400 - len(kept), 400)]
    assert [line["source-ref"].endswith(end) for line, end in zip(kept, newest, strict=True)] == [True] * len(kept)


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_line_that_a_crash_cut_off_goes_and_its_picture_with_it(tmp_path: Path, cut: int) -> None:
    with collecting(tmp_path / "kept") as collection:
        for number in range(3):
            collection.keep(frame(number), EDGE, CLOUD)
    manifest = tmp_path / "kept" / "output.manifest"
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    (tmp_path / "kept" / "images" / ".20260504T100009.000000Z-9.jpg.partial").write_bytes(b"half")
    with collecting(tmp_path / "kept") as collection:
        assert collection.counts.pictures == 2
        collection.keep(frame(5), EDGE, CLOUD)
    assert [line["source-ref"][-5] for line in lines(tmp_path / "kept")] == ["0", "1", "5"]
    assert pictures(tmp_path / "kept") == {line["source-ref"] for line in lines(tmp_path / "kept")}
    assert list(check_dataset(str(manifest))) == []


@pytest.mark.parametrize("damage", [b"\0" * 700, b'{"sour\0\0\0\0', b'{"source-ref": "images/2026\xff'])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_what_a_power_cut_left_of_a_line_goes(tmp_path: Path, damage: bytes, end: bytes) -> None:
    with collecting(tmp_path / "kept") as collection:
        for number in range(3):
            collection.keep(frame(number), EDGE, CLOUD)
    manifest = tmp_path / "kept" / "output.manifest"
    first, _, third = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(first + damage + end + (third if end else b""))
    left = 2 if end else 1
    with collecting(tmp_path / "kept") as collection:
        assert collection.fault is None
        assert collection.counts.pictures == left
        collection.keep(frame(5), EDGE, CLOUD)
    assert len(lines(tmp_path / "kept")) == left + 1
    assert list(check_dataset(str(manifest))) == []


def test_a_picture_that_a_power_cut_left_empty_goes(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        for number in range(2):
            collection.keep(frame(number), EDGE, CLOUD)
    (tmp_path / "kept" / lines(tmp_path / "kept")[0]["source-ref"]).write_bytes(b"")
    with collecting(tmp_path / "kept") as collection:
        assert collection.counts.pictures == 1
    assert list(check_dataset(f"{tmp_path}/kept/output.manifest")) == []


def test_a_line_without_its_picture_goes(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        for number in range(3):
            collection.keep(frame(number), EDGE, CLOUD)
    (tmp_path / "kept" / lines(tmp_path / "kept")[1]["source-ref"]).unlink()
    with collecting(tmp_path / "kept") as collection:
        assert collection.counts.pictures == 2
    assert list(check_dataset(f"{tmp_path}/kept/output.manifest")) == []


def test_a_crash_before_the_first_line_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "20260504T100009.000000Z-9.jpg").write_bytes(b"whole")
    with collecting(tmp_path) as collection:
        assert collection.counts.pictures == 0
    assert pictures(tmp_path) == set()


def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"images/mine.jpg is nothing that was collected"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    (tmp_path / "output.manifest").write_text('{"source-ref": "images/mine.jpg"}\n')
    with pytest.raises(InputError, match="holds line 1 that this did not write"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    (tmp_path / "output.manifest").write_text('{"source-ref": "images/mine.jpg"}')
    with pytest.raises(InputError, match="holds line 1 that this did not write"):
        Collection(tmp_path, megabytes=1, longest_side=64, quality=85, origin="a/b")
    assert (tmp_path / "images" / "mine.jpg").read_bytes() == b"mine"
    assert (tmp_path / "output.manifest").read_text() == '{"source-ref": "images/mine.jpg"}'


def test_a_home_is_no_folder_to_collect_in(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds letter.txt, which was not collected: give a folder of its own"):
        Collection(tmp_path / "home", megabytes=1, longest_side=64, quality=85, origin="a/b")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755


def test_two_do_not_collect_in_one_folder(tmp_path: Path) -> None:
    with (
        collecting(tmp_path),
        pytest.raises(InputError, match="another beeagent collects there"),
        collecting(tmp_path),
    ):
        pass
    with collecting(tmp_path) as collection:
        assert collection.counts.pictures == 0


def test_a_picture_larger_than_the_quota_is_told_and_the_next_one_kept(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept", megabytes=0.02, longest_side=1000) as collection:
        collection.keep(frame(0, width=1000, height=1000, grainy=True), EDGE, CLOUD)
        assert collection.fault is not None
        assert "larger than the quota of 0.02 MB" in collection.fault
        collection.keep(frame(1), EDGE, CLOUD)
        assert collection.fault is None
        assert collection.counts.pictures == 1


def test_a_folder_that_vanishes_costs_pictures_and_nothing_else(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        collection.keep(frame(0), EDGE, CLOUD)
        (tmp_path / "kept" / "images").rename(tmp_path / "away")
        collection.keep(frame(1), EDGE, CLOUD)
        assert collection.fault is not None
        assert "No such file" in collection.fault
        (tmp_path / "away").rename(tmp_path / "kept" / "images")
        collection.keep(frame(2), EDGE, CLOUD)
        assert collection.fault is None
    assert len(lines(tmp_path / "kept")) == 2
    assert list(check_dataset(f"{tmp_path}/kept/output.manifest")) == []


def test_a_folder_that_was_emptied_is_filled_anew(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        collection.keep(frame(0), EDGE, CLOUD)
        shutil.rmtree(tmp_path / "kept")
        for number in range(1, 4):
            collection.keep(frame(number), EDGE, CLOUD)
        assert collection.fault is None
        kept = collection.counts.pictures
    assert kept >= 2  # what finds the folder gone may be lost
    assert len(lines(tmp_path / "kept")) == kept
    assert list(check_dataset(f"{tmp_path}/kept/output.manifest")) == []


def test_a_manifest_that_a_person_changed_meanwhile_is_taken_as_it_is(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        for number in range(3):
            collection.keep(frame(number), EDGE, CLOUD)
        manifest = tmp_path / "kept" / "output.manifest"
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[1:]))
        collection.keep(frame(3), EDGE, CLOUD)
        assert collection.counts.pictures == 3
    assert [line["source-ref"][-5] for line in lines(tmp_path / "kept")] == ["1", "2", "3"]
    assert pictures(tmp_path / "kept") == {line["source-ref"] for line in lines(tmp_path / "kept")}


def test_a_disk_that_is_not_there_at_the_start_costs_pictures_until_it_comes(tmp_path: Path) -> None:
    (tmp_path / "stick").symlink_to(tmp_path / "unplugged")
    with collecting(tmp_path / "stick" / "kept") as collection:
        assert collection.fault is not None
        collection.keep(frame(0), EDGE, CLOUD)
        assert collection.fault is not None
        (tmp_path / "unplugged").mkdir()
        collection.keep(frame(1), EDGE, CLOUD)
        assert collection.fault is None
    assert [line["source-ref"][-5] for line in lines(tmp_path / "unplugged" / "kept")] == ["1"]


def test_a_full_disk_costs_pictures_and_leaves_the_data_set_whole(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=1024) as disk:
        with collecting(disk.seen / "kept", spare_megabytes=0) as collection:
            collection.keep(frame(0, grainy=True), EDGE, CLOUD)
            disk.fill()
            for number in range(1, 30):  # a small one may still find the rest of a block
                collection.keep(frame(number, grainy=True), EDGE, CLOUD)
            assert collection.fault is not None
            assert "No space left" in collection.fault
            assert len(lines(disk.seen / "kept")) == collection.counts.pictures < 30
            assert pictures(disk.seen / "kept") == {line["source-ref"] for line in lines(disk.seen / "kept")}
            disk.empty()
            collection.keep(frame(30), EDGE, CLOUD)
            assert collection.fault is None
        assert lines(disk.seen / "kept")[-1]["source-ref"].endswith("-30.jpg")
        assert list(check_dataset(str(disk.seen / "kept" / "output.manifest"))) == []


def test_a_line_for_which_there_is_half_the_room_leaves_the_manifest_as_it_was(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=256) as disk:
        append_line(disk.seen / "manifest", b"first\n")
        disk.fill()  # but for the rest of the first line's block
        with pytest.raises(OSError, match="No space left"):
            append_line(disk.seen / "manifest", b"x" * 10_000 + b"\n")
        assert (disk.seen / "manifest").read_bytes() == b"first\n"


def test_a_disk_with_little_room_is_left_to_others(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=4096) as disk, collecting(disk.seen / "kept") as collection:
        collection.keep(frame(0), EDGE, CLOUD)
        assert collection.fault is not None
        assert "less than 100 MB are free on the disk, and those are left to others" in collection.fault
        assert pictures(disk.seen / "kept") == set()


def test_a_disk_that_hangs_holds_up_nobody_who_asks_how_it_is(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        collection.keep(frame(0), EDGE, CLOUD)
        picture = tmp_path / "kept" / "images" / ".20260504T100001.000000Z-1.jpg.partial"
        os.mkfifo(picture)  # to open it for writing waits for a reader
        thread = threading.Thread(target=collection.keep, args=(frame(1), EDGE, CLOUD), daemon=True)
        thread.start()
        while not collection._keeping.locked():
            assert thread.is_alive()
        assert collection.counts.pictures == 1
        assert collection.fault is None
        assert thread.is_alive()
        picture.read_bytes()
        thread.join(60)
        assert not thread.is_alive()


ratios = st.floats(0, 1, width=32)


@given(
    boxes=st.lists(st.tuples(ratios, ratios, ratios, ratios), max_size=5),
    size=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_any_boxes_end_up_within_the_picture_and_with_an_area(
    boxes: list[tuple[float, float, float, float]], size: tuple[int, int]
) -> None:
    upright = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    line = collected_line(
        "images/x.jpg", size=size, edge=EdgeAnswer(found(*upright), 0, "m"), cloud=found(*upright), captured_at=START,
        collected_at=START, origin="a/b", classes={"bee": 0, "wasp": 1},
    )  # fmt: skip
    assert read_collected_line(line.encode()) == CollectedLine("images/x.jpg", {"bee": 0, "wasp": 1})
    row = json.loads(line)
    for box in [*row["bees"]["annotations"], *row["edge"]["annotations"]]:
        assert box["left"] >= 0
        assert box["top"] >= 0
        assert 1 <= box["width"] <= size[0] - box["left"]
        assert 1 <= box["height"] <= size[1] - box["top"]


@given(st.binary())
def test_any_other_line_is_none_of_ours(line: bytes) -> None:
    assert read_collected_line(line) is None


def test_pictures_are_as_they_were_shown(tmp_path: Path) -> None:
    with collecting(tmp_path / "kept") as collection:
        collection.keep(frame(40), EDGE, CLOUD)
    (picture,) = (tmp_path / "kept" / "images").iterdir()
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    assert pixels.shape == (80, 160, 3)
    assert int(pixels.mean()) == 40
