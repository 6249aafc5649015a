"""Trying a model in a process of its own first: a damaged one may crash the TFLite runtime, and with it the process.

A bundle's model is vouched for by its hash; that of a bare file is what somebody found somewhere.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

from beeagent.detection.bundle import ModelBundle
from beeagent.detection.detector import Detector, DetectorOptions
from beeagent.errors import BeeagentError, InputError

_WITHIN_S = 120.0
"""Seconds for starting Python, loading the model and running it once: many times what the slowest device takes."""
_REFUSED = 3


def try_in_child(bundle: ModelBundle, *, threads: int, within: float = _WITHIN_S) -> None:
    """Load a bare model and run it once in a child process.

    The child is a program started anew, not a fork: it needs nothing of this process, whatever threads run in it.

    Args:
        bundle: the model, without manifest.
        threads: CPU threads to compute with, as later.
        within: seconds that it may take, above 0.

    Raises:
        InputError: the model crashes the runtime, takes too long, or is refused as `Detector` would.
    """
    what = {"path": str(bundle.path), "labels": bundle.labels, "sha256": bundle.sha256, "threads": threads}
    name = f"the model {bundle.path}"
    try:
        child = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", __name__],
            input=json.dumps(what).encode() + b"\n" + bundle.model,
            capture_output=True,
            timeout=within,
            check=False,
            cwd="/",  # which is first on the child's import path
            start_new_session=True,  # a Ctrl-C at the terminal is for this process
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{name} did not finish one inference within {within:g} s: it is damaged, or far too large for this machine"
        ) from error
    except OSError as error:
        raise InputError(f"{name} cannot be tried in a process of its own: {error.strerror or error}") from error
    if child.returncode == _REFUSED:
        raise InputError(child.stdout.decode(errors="replace"))
    if child.returncode < 0:
        raise InputError(
            f"{name} crashes the TFLite runtime (signal {-child.returncode}): it is damaged, or made for another "
            "runtime; get the file again"
        )
    if child.returncode:
        last = child.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
        raise InputError(f"{name} cannot be tried in a process of its own: {last}")


def main() -> int:
    """Try the model that comes on standard input, behind a line of JSON; give the exit code."""
    # A crash is an answer here, and no reason to write the memory to the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    what = json.loads(sys.stdin.buffer.readline())
    bundle = ModelBundle(
        path=Path(what["path"]),
        name="canary",
        sha256=what["sha256"],
        model=sys.stdin.buffer.read(),
        labels=tuple(what["labels"]),
        input=None,
        threshold=0.0,
        manifest=None,
    )
    try:
        Detector(bundle, DetectorOptions(threads=what["threads"]))
    except InputError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    except BeeagentError:
        return 0  # no fault of the model's; whoever runs it next is told
    return 0


if __name__ == "__main__":
    sys.exit(main())
