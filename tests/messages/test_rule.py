"""The rule that selects the frames to publish."""

from typing import Literal

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.messages import PublishRule


def _found(*class_ids: int) -> Detections:
    count = len(class_ids)
    return Detections(
        np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.array(class_ids, np.int64), ("bee", "wasp")
    )


@pytest.mark.parametrize(
    ("mode", "admitted"),
    [
        ("always", [True] * 6),
        ("detections", [False, True, True, True, True, False]),
        ("changes", [True, True, False, True, True, True]),
    ],
)
def test_the_mode_decides(mode: Literal["detections", "always", "changes"], admitted: list[bool]) -> None:
    frames = [_found(), _found(0), _found(0), _found(1), _found(0, 1), _found()]
    rule = PublishRule(mode)
    assert [rule.admits(frame.counts()) for frame in frames] == admitted
