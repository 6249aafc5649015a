"""The command `beeagent` with a model that hangs for ever at its fifth frame, or, with FAIL_BESIDE, fails after it."""

import itertools
import os
import threading
from collections.abc import Callable

from beeagent.cli.app import main
from beeagent.detection import Detector, PreparedFrame, RawOutputs

_numbers = itertools.count(1)
_infer = Detector.infer


def _hang(
    self: Detector, prepared: PreparedFrame, *, on_inference: Callable[[], object] | None = None
) -> tuple[RawOutputs, ...]:
    number = next(_numbers)
    if number > 5 and "FAIL_BESIDE" in os.environ:
        raise RuntimeError("the model failed")
    if number >= 5:
        threading.Event().wait()
    return _infer(self, prepared, on_inference=on_inference)


if __name__ == "__main__":
    Detector.infer = _hang  # type: ignore[method-assign] # that is the point
    main()
