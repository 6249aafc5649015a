"""Tracking metrics of the library, against small manual examples."""

import math

import numpy as np
import pytest

pytest.importorskip("motrics")

from beeagent_models.evaluation.track_metrics import measure_tracks
from beeagent_models.tracks import Tracks

BOX = (10.0, 10.0, 100.0, 40.0)


def tracks(*rows: tuple[int, int], boxes: dict[int, tuple[float, ...]] | None = None, label: str = "bee") -> Tracks:
    """Return objects at one place each, by frame and track; `boxes` by track, `BOX` for others."""
    rows = tuple(sorted(rows))
    found = [(boxes or {}).get(track, BOX) for _, track in rows]
    return Tracks(
        frame=np.array([frame for frame, _ in rows], dtype=np.int64),
        track=np.array([track for _, track in rows], dtype=np.int64),
        label=(label,) * len(rows),
        boxes=np.array(found, dtype=np.float64).reshape(-1, 4),
        size=(640, 360),
        rate=30,
        frames=8,
    )


def test_perfect_tracks() -> None:
    truth = tracks(*((frame, track) for frame in range(1, 5) for track in (1, 2)), boxes={2: (300, 10, 50, 50)})
    found = measure_tracks(truth, truth)
    assert (found.hota, found.deta, found.assa, found.idf1, found.mota) == (1, 1, 1, 1, 1)
    assert (found.switches, found.misses, found.false_alarms) == (0, 0, 0)
    assert (found.truth_tracks, found.predicted_tracks, found.truth_boxes, found.frames) == (2, 2, 8, 8)


def test_identity_switch_in_the_middle() -> None:
    """One object in four frames, found in all, as track 7 twice and then as track 8 twice.

    DetA is 1. Each of the four matches shares its pair of tracks with 2 boxes; the truth has 2 others, the predicted
    track none: AssA = 2 / (2 + 2 + 0). HOTA = sqrt(1 * 0.5). Identity: the truth goes to one of the two, so 2 boxes
    agree, 2 of the truth and 2 of the predictions do not: IDF1 = 2 * 2 / (2 * 2 + 2 + 2). MOTA = 1 - 1 switch / 4.
    """
    truth = tracks(*((frame, 1) for frame in range(1, 5)))
    found = measure_tracks(truth, tracks((1, 7), (2, 7), (3, 8), (4, 8)))
    assert found.deta == pytest.approx(1)
    assert found.assa == pytest.approx(0.5)
    assert found.hota == pytest.approx(math.sqrt(0.5))
    assert found.idf1 == pytest.approx(0.5)
    assert found.mota == pytest.approx(0.75)
    assert found.switches == 1


def test_miss_and_false_alarm() -> None:
    """One object in four frames, missed in the last; one false alarm elsewhere, a track of its own.

    3 matches, 1 miss, 1 false alarm: DetA = 3 / 5. Each match: 3 boxes agree, 1 of the truth does not: AssA = 3 / 4.
    IDF1 = 2 * 3 / (2 * 3 + 1 + 1). MOTA = 1 - 2 / 4.
    """
    truth = tracks(*((frame, 1) for frame in range(1, 5)))
    predicted = tracks((1, 1), (2, 1), (3, 1), (2, 9), boxes={9: (400, 200, 50, 50)})
    found = measure_tracks(truth, predicted)
    assert found.deta == pytest.approx(0.6)
    assert found.assa == pytest.approx(0.75)
    assert found.hota == pytest.approx(math.sqrt(0.45))
    assert found.idf1 == pytest.approx(0.75)
    assert found.mota == pytest.approx(0.5)
    assert (found.misses, found.false_alarms, found.switches) == (1, 1, 0)


def test_boxes_that_overlap_in_part() -> None:
    """All boxes at IoU 0.62: right at the 12 thresholds of HOTA from 0.05 to 0.60, wrong at the 7 from 0.65 on."""
    truth = tracks(*((frame, 1) for frame in range(1, 5)))
    predicted = tracks(*((frame, 1) for frame in range(1, 5)), boxes={1: (10, 10, 62, 40)})
    found = measure_tracks(truth, predicted)
    assert found.hota == pytest.approx(12 / 19)
    assert (found.idf1, found.mota) == (1, 1)


def test_two_objects_that_swap_identities() -> None:
    """Two objects in four frames whose tracks are swapped for the last two.

    For each match 2 boxes agree, 2 of the truth's track and 2 of the predicted track do not: AssA = 2 / 6.
    """
    places = {1: BOX, 2: (300.0, 10.0, 50.0, 50.0)}
    truth = tracks(*((frame, track) for frame in range(1, 5) for track in (1, 2)), boxes=places)
    predicted = tracks(
        (1, 1), (2, 1), (3, 3), (4, 3), (1, 2), (2, 2), (3, 4), (4, 4), boxes={**places, 3: places[2], 4: places[1]}
    )
    swapped = np.where(predicted.track > 2, predicted.track - 2, predicted.track)
    predicted = Tracks(
        frame=predicted.frame, track=swapped, label=predicted.label, boxes=predicted.boxes, size=(640, 360)
    )
    found = measure_tracks(truth, predicted)
    assert found.assa == pytest.approx(1 / 3)
    assert found.hota == pytest.approx(math.sqrt(1 / 3))
    assert found.idf1 == pytest.approx(0.5)
    assert (found.switches, found.mota) == (2, pytest.approx(0.75))


def test_every_second_frame() -> None:
    truth = tracks(*((frame, 1) for frame in range(1, 9)))
    # Wrong in the frames that are not measured.
    predicted = tracks(*((frame, 1 if frame % 2 else 2) for frame in range(1, 9)))
    found = measure_tracks(truth, predicted, every=2)
    assert (found.hota, found.switches, found.frames, found.truth_boxes) == (1, 0, 4, 4)
    assert measure_tracks(truth, predicted).switches == 7


def test_labels_have_to_agree_where_both_are_named() -> None:
    truth = tracks((1, 1), (2, 1))
    assert measure_tracks(truth, tracks((1, 1), (2, 1), label="wasp")).hota == 0
    assert measure_tracks(truth, tracks((1, 1), (2, 1), label="")).hota == 1


def test_no_predictions() -> None:
    found = measure_tracks(tracks((1, 1), (2, 1)), tracks())
    assert (found.hota, found.idf1, found.mota, found.misses) == (0, 0, 0, 2)
