"""The child process of `beeagent.detection.probe`."""

import json
import resource
import sys
from pathlib import Path

from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.detection.probe import EXIT_REFUSED
from beeagent.errors import BeeagentError, InputError


def main() -> int:
    """Read a line of JSON and a model from standard input, run the model, and return the exit code."""
    # A crash is an expected result: no core dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    header = json.loads(sys.stdin.buffer.readline())
    bundle = ModelBundle(
        path=Path(header["path"]),
        name="probe",
        sha256=header["sha256"],
        model=sys.stdin.buffer.read(),
        labels=tuple(header["labels"]),
        input=None,
        threshold=0.0,
        manifest=None,
    )
    try:
        Detector(bundle, DetectorOptions(threads=header["threads"]))
    except InputError as error:
        sys.stdout.write(str(error))
        return EXIT_REFUSED
    except BeeagentError:
        return 0  # not caused by the model; the parent gets the same error when it loads the model
    return 0


if __name__ == "__main__":
    sys.exit(main())
