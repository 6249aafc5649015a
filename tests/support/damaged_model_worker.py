"""Loads damaged copies of a model one after the other, in a process that may crash.

Reads a model on standard input and says on standard output, a line a copy, what became of it. The copies depend on
their number alone, so that another process can go on behind the one at which this crashed.
"""

import random
import signal
import sys
import traceback

import numpy as np
from beeagent.detection import Detector, DetectorOptions
from beeagent.errors import BeeagentError

from support.memory_bundle import bundle_of

_GIVEN_UP_AFTER = 10  # seconds of computing what a changed size in the model asks for


def damaged(model: bytes, number: int) -> bytes:
    """Change one to four bytes of a model."""
    rng = random.Random(number)  # noqa: S311 - not for secrets
    content = bytearray(model)
    for _ in range(rng.choice([1, 1, 2, 4])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def answer(model: bytes) -> str:
    """Say what becomes of a model: `found`, `refused: …` or a traceback in one line."""
    try:
        detector = Detector(bundle_of(model), DetectorOptions(threads=1))
        detector.detect(np.zeros((50, 70, 3), dtype=np.uint8))
    except BeeagentError as error:
        return f"refused: {error}"
    except Exception:  # noqa: BLE001 - whatever else there is, is what the test looks for
        return repr(traceback.format_exc())
    return "found"


def main() -> None:
    """Work through the copies from the first argument up to the second."""
    model = sys.stdin.buffer.read()
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        signal.alarm(_GIVEN_UP_AFTER)  # ends this process as a crash would
        print(number, end=" ", flush=True)  # noqa: T201 - so that a crash is known by its number
        print(answer(damaged(model, number)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
