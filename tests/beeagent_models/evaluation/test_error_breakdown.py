"""Error kinds as defined by TIDE, on boxes with known overlaps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.coco_metrics import SIZE_RANGES, coco_metrics
from beeagent_models.evaluation.error_breakdown import ErrorBreakdown, ErrorKind, break_down_errors, size_range
from hypothesis import given, settings
from hypothesis import strategies as st

Box = tuple[float, float, float, float]
SIDE = 200
LABELS = ("bee", "wasp")
BEE = (20.0, 20.0, 60.0, 60.0)
"""An object of size 40."""


def dataset(*objects: tuple[Box, int]) -> Dataset:
    image = LabelledImage(
        path=Path("0.png"),
        width=SIDE,
        height=SIDE,
        boxes=np.array([box for box, _ in objects], np.float32).reshape(-1, 4),
        class_ids=np.array([class_id for _, class_id in objects], np.int64),
    )
    return Dataset(name="set", images=(image,), labels=LABELS)


def found(*rows: tuple[Box, float, int]) -> Detections:
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        boxes=np.array([box for box, _, _ in ordered], np.float32).reshape(-1, 4) / np.float32(SIDE),
        confidences=np.array([confidence for _, confidence, _ in ordered], np.float32),
        class_ids=np.array([class_id for _, _, class_id in ordered], np.int64),
        labels=LABELS,
    )


def breakdown(
    truth: Dataset, answer: Detections, *, threshold: float = 0.5, input_size: tuple[int, int] | None = None
) -> ErrorBreakdown:
    matches = coco_metrics(truth, [answer], input_size=input_size).matches
    return break_down_errors(truth, [answer], matches, threshold=threshold, input_size=input_size)


def counts(errors: ErrorBreakdown) -> dict[str, int]:
    return {kind.value: errors.total(kind) for kind in ErrorKind if errors.total(kind)}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(BEE, 0.9, 0)], {}),
        ([], {"missed": 1}),
        # Weak detections are as if they were not there.
        ([(BEE, 0.4, 0)], {"missed": 1}),
        ([(BEE, 0.9, 0), ((22.0, 20.0, 62.0, 60.0), 0.8, 0)], {"duplicate": 1}),
        # IoU 20/60 = 0.33 with the object, which is then not missed as well.
        ([((40.0, 20.0, 80.0, 60.0), 0.9, 0)], {"localisation": 1}),
        # Just below and above IoU 0.1: shared 7 of 40 wide is 7/73, 8 is 8/72.
        ([((53.0, 20.0, 93.0, 60.0), 0.9, 0)], {"missed": 1, "background": 1}),
        ([((52.0, 20.0, 92.0, 60.0), 0.9, 0)], {"localisation": 1}),
        ([((120.0, 120.0, 160.0, 160.0), 0.9, 0)], {"missed": 1, "background": 1}),
        ([(BEE, 0.9, 1)], {"label": 1}),
        ([((40.0, 20.0, 80.0, 60.0), 0.9, 1)], {"missed": 1, "label_and_localisation": 1}),
        # The object is found beside the badly localised detection.
        ([(BEE, 0.9, 0), ((40.0, 20.0, 80.0, 60.0), 0.8, 0)], {"localisation": 1}),
    ],
)
def test_kinds_of_errors(rows: Sequence[tuple[Box, float, int]], expected: dict[str, int]) -> None:
    assert counts(breakdown(dataset((BEE, 0)), found(*rows))) == expected


def test_without_an_object_every_detection_is_background() -> None:
    errors = breakdown(dataset(), found((BEE, 0.9, 0), ((30.0, 30.0, 35.0, 35.0), 0.8, 1)))
    assert counts(errors) == {"background": 2}
    assert errors.by_size[ErrorKind.BACKGROUND].tolist() == [1, 0, 0, 1, 0]


def test_sizes_are_those_of_the_object_at_the_models_input() -> None:
    # The object is 40 px and at half the size 20 px; the badly localised detection is 10 px and not 40 px.
    errors = breakdown(
        dataset((BEE, 0), ((100.0, 100.0, 120.0, 120.0), 0)),
        found(((20.0, 20.0, 40.0, 40.0), 0.9, 0), ((150.0, 20.0, 164.0, 34.0), 0.8, 0)),
        input_size=(SIDE // 2, SIDE),
    )
    assert counts(errors) == {"localisation": 1, "missed": 1, "background": 1}
    assert errors.by_size[ErrorKind.LOCALISATION].tolist() == [0, 0, 1, 0, 0]
    assert errors.by_size[ErrorKind.MISSED].tolist() == [0, 1, 0, 0, 0]
    assert errors.by_size[ErrorKind.BACKGROUND].tolist() == [1, 0, 0, 0, 0]


def test_an_ignored_object_is_not_missed_and_takes_its_detections_with_it() -> None:
    truth, answer = dataset(((20.0, 20.0, 26.0, 26.0), 0)), found(((20.0, 20.0, 26.0, 25.0), 0.9, 0))
    matches = coco_metrics(truth, [answer], min_size=8).matches
    assert counts(break_down_errors(truth, [answer], matches, threshold=0.5, input_size=None)) == {}


def test_each_size_is_in_one_range() -> None:
    assert size_range(np.array([0, 7.99, 8, 16, 31, 32, 96, 5000])).tolist() == [0, 0, 1, 2, 2, 3, 4, 4]
    assert [name for name, _, _ in SIZE_RANGES] == ["<8", "8-16", "16-32", "32-96", ">=96"]


boxes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 6), st.integers(1, 6)).map(
    lambda c: (10.0 * c[0], 10.0 * c[1], 10.0 * (c[0] + c[2]), 10.0 * (c[1] + c[3]))
)
classes = st.integers(0, 1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(boxes, classes), max_size=6),
    st.lists(st.tuples(boxes, st.integers(1, 9).map(lambda n: n / 10), classes), max_size=10),
    st.sampled_from([0.0, 0.35, 0.55]),
)
def test_every_wrong_detection_is_of_one_kind(
    objects: list[tuple[Box, int]], rows: list[tuple[Box, float, int]], threshold: float
) -> None:
    truth, answer = dataset(*objects), found(*rows)
    matches = coco_metrics(truth, [answer]).matches
    errors = break_down_errors(truth, [answer], matches, threshold=threshold, input_size=None)
    counts = {kind: errors.total(kind) for kind in ErrorKind}
    wrong = matches[0].scored & ~matches[0].hits & (answer.confidences >= np.float32(threshold))
    assert sum(counts.values()) - counts[ErrorKind.MISSED] == wrong.sum()
    not_found = int(matches[0].missed(threshold).sum())
    near = counts[ErrorKind.LOCALISATION] + counts[ErrorKind.LABEL]
    assert not_found - near <= counts[ErrorKind.MISSED] <= not_found
