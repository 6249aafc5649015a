"""A bare model that crashes or hangs the runtime is refused in one line, without harm to this process."""

from contextlib import suppress
from pathlib import Path

import pytest
from beeagent.detection.probe import probe_model
from beeagent.errors import InputError
from beeagent.runtime import load_model
from beeagent.settings import load_settings
from support.beeagent_process import run_beeagent, tiny_bare_model
from support.damaged_model_worker import damaged
from support.memory_bundle import bundle_of
from support.tiny_models import square_finder

CRASHES = "os.kill(os.getpid(), signal.SIGSEGV)"
NEVER_ENDS = "time.sleep(600)"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that new processes find before all others."""
    folder = tmp_path / "modules"
    monkeypatch.setenv("PYTHONPATH", str(folder))
    package = folder / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package / "interpreter.py"


def runtime_running(statement: str) -> str:
    """Return a runtime that runs a statement when it is to load a model."""
    return f"import os, signal, time\ndef Interpreter(**_):\n    {statement}\n"


def test_a_valid_model_passes() -> None:
    probe_model(bundle_of(square_finder(classes=3)), threads=1)


def test_a_model_that_the_detector_refuses_is_refused_with_its_error() -> None:
    with pytest.raises(InputError, match=r"the model model\.tflite distinguishes 3 classes, .* there are 1 labels"):
        probe_model(bundle_of(square_finder(classes=3), labels=["bee"]), threads=1)


def test_a_model_that_crashes_the_runtime_is_refused(runtime: Path) -> None:
    runtime.write_text(runtime_running(CRASHES), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.tflite crashes the TFLite runtime \(signal 11\)"):
        probe_model(bundle_of(square_finder()), threads=1)


def test_a_model_that_never_ends_is_refused(runtime: Path) -> None:
    runtime.write_text(runtime_running(NEVER_ENDS), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.tflite did not finish one inference within 3 s"):
        probe_model(bundle_of(square_finder()), threads=1, timeout=3)


def test_a_child_that_fails_otherwise_is_reported(runtime: Path) -> None:
    runtime.write_text(runtime_running("raise KeyError('odd')"), encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be probed in a child process: KeyError: 'odd'"):
        probe_model(bundle_of(square_finder()), threads=1)


def test_the_command_line_refuses_it_in_one_line(runtime: Path, tmp_path: Path) -> None:
    runtime.write_text(runtime_running(CRASHES), encoding="utf-8")
    for command in (("--camera", "synthetic:64x48", "--broker", "none"), ("bench",)):
        ended = run_beeagent(*command, *tiny_bare_model(tmp_path), folder=tmp_path)
        assert ended.returncode == 2, ended.stderr
        assert "tiny.tflite crashes the TFLite runtime" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr


def test_a_bundle_with_hashes_is_not_probed(runtime: Path) -> None:
    runtime.write_text(runtime_running(CRASHES), encoding="utf-8")
    assert load_model(load_settings({}, config=None)).manifest is not None


@pytest.mark.parametrize("number", [249, 447, 1114])
def test_damage_that_crashed_a_runtime_does_not_end_this_process(number: int) -> None:
    """LiteRT 2.3 crashes on these; another runtime may refuse them or run them."""
    with suppress(InputError):
        probe_model(bundle_of(damaged(square_finder(classes=3), number)), threads=1)
