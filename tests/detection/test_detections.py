"""The form in which detections are passed around."""

import numpy as np
import pytest
from beeagent.detection.detections import Detections


def detections(count: int, **changes: object) -> Detections:
    arrays: dict[str, object] = {
        "boxes": np.zeros((count, 4), dtype=np.float32),
        "confidences": np.zeros(count, dtype=np.float32),
        "class_ids": np.array([2, 0, 2, 1, 2][:count], dtype=np.int64),
    }
    return Detections(**{**arrays, **changes}, labels=("bee", "wasp", "drone"))  # type: ignore[arg-type]  # on purpose


def test_labels_and_counts_follow_the_class_ids() -> None:
    found = detections(5)
    assert len(found) == 5
    assert [found.label(index) for index in range(5)] == ["drone", "bee", "drone", "wasp", "drone"]
    assert list(found.counts().items()) == [("bee", 1), ("wasp", 1), ("drone", 3)]


def test_nothing_found_counts_nothing() -> None:
    assert len(detections(0)) == 0
    assert detections(0).counts() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": np.zeros((2, 4), dtype=np.float32)},
        {"boxes": np.zeros((3, 5), dtype=np.float32)},
        {"boxes": np.zeros(12, dtype=np.float32)},
        {"class_ids": np.zeros(4, dtype=np.int64)},
        {"class_ids": np.zeros((3, 1), dtype=np.int64)},
        {"confidences": np.zeros(2, dtype=np.float32)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        detections(3, **changes)
