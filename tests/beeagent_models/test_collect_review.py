import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud import Collection, EdgeResult
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent_models import cli
from beeagent_models.collected import Disagreement, disagreements, read_collected
from typer.testing import CliRunner, Result

START = datetime(2026, 5, 4, 10, 0, tzinfo=timezone.utc)
LEFT, MIDDLE, RIGHT = (0.1, 0.1, 0.3, 0.4), (0.4, 0.5, 0.6, 0.9), (0.7, 0.1, 0.9, 0.4)


def edge_saw(*boxes: tuple[float, float, float, float], strength: float = 0.5) -> EdgeResult:
    found = saw(*boxes, strength=strength)
    return EdgeResult(found, len(found) if strength >= 0.4 else 0, "bees-lite0@3f9c21d0")


def saw(*boxes: tuple[float, float, float, float], strength: float = 0.5) -> Detections:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(array, np.full(len(boxes), strength, np.float32), np.zeros(len(boxes), np.int64), ("bee",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    collection = Collection(tmp_path / "kept", megabytes=1, longest_side=320, quality=85, origin="hive-7/front")
    answers = [
        (edge_saw(LEFT), saw(LEFT)),
        (edge_saw(LEFT), saw(MIDDLE, RIGHT, strength=0.9)),
        (edge_saw(LEFT, strength=0.2), saw()),
        (edge_saw(), saw(LEFT, MIDDLE)),
    ]
    for index, (edge, cloud) in enumerate(answers):
        pixels = np.full((160, 320, 3), 128, np.uint8)
        collection.add(Frame(pixels, START + timedelta(seconds=index), 0, index), edge, cloud)
    assert collection.fault is None
    collection.close()
    return tmp_path / "kept"


def review(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.collect, ["review", *map(str, arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def test_review_counts_detections_and_sorts_by_disagreement(folder: Path) -> None:
    collected = read_collected(folder, threshold=0.0)
    assert collected.captured_at[1] == "2026-05-04T10:00:01.000000Z"
    assert disagreements(collected) == [
        Disagreement(index=1, both=0, cloud_alone=2, edge_alone=1),
        Disagreement(index=3, both=0, cloud_alone=2, edge_alone=0),
        Disagreement(index=2, both=0, cloud_alone=0, edge_alone=1),
        Disagreement(index=0, both=1, cloud_alone=0, edge_alone=0),
    ]


def test_weak_edge_detections_can_be_excluded(folder: Path) -> None:
    as_told = {one.index: one for one in disagreements(read_collected(folder))}
    assert as_told[0] == Disagreement(index=0, both=1, cloud_alone=0, edge_alone=0)
    assert as_told[2] == Disagreement(index=2, both=0, cloud_alone=0, edge_alone=0)
    strict = {one.index: one for one in disagreements(read_collected(folder, threshold=0.6))}
    assert strict[0] == Disagreement(index=0, both=0, cloud_alone=1, edge_alone=0)
    assert strict[2] == Disagreement(index=2, both=0, cloud_alone=0, edge_alone=0)


def test_the_frames_are_drawn_in_that_order(folder: Path, tmp_path: Path) -> None:
    result = review(folder, "--out", tmp_path / "drawn", "--sheet", tmp_path / "sheet.png", "--most", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "4 frames with results of both models; they disagree on 2",
        "1 boxes found by both, 4 by the cloud model alone, 1 by the edge model alone",
        f"{tmp_path / 'drawn'} and {tmp_path / 'sheet.png'}: 2 of 4 frames",
    ]
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["1-20260504T100001.000000Z-1.jpg", "2-20260504T100003.000000Z-3.jpg"]
    first = cv2.imread(str(tmp_path / "drawn" / names[0]))
    assert first is not None
    assert first.shape[:2] > (320, 640)  # enlarged, with the line that counts below
    # The edge's own box is red and the cloud's orange, on the image enlarged to 640x320.
    red, orange = first[32 + 48, 64].astype(int), first[160 + 60, 256].astype(int)
    assert red[2] > red[1] + 60
    assert orange[2] > orange[0] + 60
    assert orange[1] > red[1] + 30
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_image_without_cloud_detections_counts_as_edge_only(tmp_path: Path) -> None:
    collection = Collection(tmp_path, megabytes=1, longest_side=320, quality=85, origin="a/b")
    collection.add(Frame(np.zeros((64, 64, 3), np.uint8), START, 0, 0), edge_saw(LEFT, RIGHT), saw())
    collection.close()
    assert disagreements(read_collected(tmp_path)) == [Disagreement(0, 0, 0, 2)]


def test_review_works_while_an_agent_collects(folder: Path) -> None:
    manifest = folder / "output.manifest"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines)[:-100])
    (folder / json.loads(lines[0])["source-ref"]).unlink()
    result = review(folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "2 frames with results of both models; they disagree on 1",
        "0 boxes found by both, 2 by the cloud model alone, 1 by the edge model alone",
        "2 frames left out: their image is missing or their line is incomplete",
    ]


def test_unwritable_sheet_is_reported_first(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written in this form"):
        review(folder, "--sheet", tmp_path / "x.none", "--out", tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()


def test_folder_without_collection_is_a_one_line_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no output.manifest, so nothing was collected there"):
        review(tmp_path)
    manifest = folder / "output.manifest"
    row = json.loads(manifest.read_text().splitlines()[0])
    del row["edge-metadata"]["objects"]
    manifest.write_text(json.dumps(row) + "\n")
    with pytest.raises(
        InputError, match=r"output.manifest:1: edge-metadata.objects: Field required; is this a folder of"
    ):
        review(folder)
