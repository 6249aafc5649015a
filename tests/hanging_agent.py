"""The command `beeagent` with a model that hangs for ever at its fifth frame."""

import itertools
import threading

from beeagent.cli import main
from beeagent.detection.detector import Detector, PreparedInput, RawOutputs

_numbers = itertools.count(1)
_infer = Detector.infer


def _hang(self: Detector, prepared: PreparedInput) -> RawOutputs:
    if next(_numbers) >= 5:
        threading.Event().wait()
    return _infer(self, prepared)


if __name__ == "__main__":
    Detector.infer = _hang  # type: ignore[method-assign] # that is the point
    main()
