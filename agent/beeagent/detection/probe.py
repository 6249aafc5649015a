"""Probe a bare model in a child process, since a damaged one may crash the TFLite runtime and with it the process.

A bundle's model is verified by its hash; a bare file has none. The child process runs this module.
"""

import json
import subprocess
import sys
from pathlib import Path

from beeagent.detection.bundle import ModelBundle
from beeagent.errors import BeeagentError, InputError

_TIMEOUT_S = 120.0
"""Limit for starting Python, loading the model and running it once: many times the duration on the slowest device."""
_CHILD = "beeagent.detection.probe"
_EXIT_REFUSED = 3
"""The child's exit code if the model is refused; the reason is on its standard output."""


def load_probed_bundle(
    model: str | Path | None = None, *, labels: str | Path | None = None, threads: int
) -> ModelBundle:
    """Load a model with `ModelBundle.load`, and probe a bare one.

    Args:
        model: a bundle folder, a bundled model's name or a .tflite file; None for the default model.
        labels: a labels file, for a bare model.
        threads: number of CPU threads, as for the later inference.

    Raises:
        InputError: the model cannot be used.
        BeeagentError: the installation lacks the default model.
    """
    bundle = ModelBundle.load(model, labels=labels)
    if bundle.manifest is None:
        probe_model(bundle, threads=threads)
    return bundle


def probe_model(bundle: ModelBundle, *, threads: int, timeout: float = _TIMEOUT_S) -> None:
    """Load a bare model and run it once in a child process.

    The child is a new program, not a fork, and so independent of the threads of this process.

    Args:
        bundle: the model, without manifest.
        threads: number of CPU threads, as for the later inference.
        timeout: time limit in seconds, above 0.

    Raises:
        InputError: the model crashes the runtime, takes too long, or is refused by `Detector`.
    """
    header = {"path": str(bundle.path), "labels": bundle.labels, "sha256": bundle.sha256, "threads": threads}
    name = f"the model {bundle.path}"
    try:
        child = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", _CHILD],
            input=json.dumps(header).encode() + b"\n" + bundle.model,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd="/",  # the first entry of the child's import path
            start_new_session=True,  # a Ctrl-C at the terminal is for this process
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{name} did not finish one inference within {timeout:g} s: it is damaged, or far too large for this "
            "machine"
        ) from error
    except OSError as error:
        raise InputError(f"{name} cannot be probed in a child process: {error.strerror or error}") from error
    if child.returncode == _EXIT_REFUSED:
        raise InputError(child.stdout.decode(errors="replace"))
    if child.returncode < 0:
        raise InputError(
            f"{name} crashes the TFLite runtime (signal {-child.returncode}): it is damaged, or made for another "
            "runtime; get the file again"
        )
    if child.returncode:
        last = child.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
        raise InputError(f"{name} cannot be probed in a child process: {last}")


def _probe_in_child() -> int:
    """Read a line of JSON and a model from standard input, run the model, and return the exit code."""
    import resource  # noqa: PLC0415 - not on every system

    from beeagent.detection.detector import Detector, DetectorOptions  # noqa: PLC0415 - it imports this module

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
        return _EXIT_REFUSED
    except BeeagentError:
        return 0  # not caused by the model; the parent gets the same error when it loads the model
    return 0


if __name__ == "__main__":
    sys.exit(_probe_in_child())
