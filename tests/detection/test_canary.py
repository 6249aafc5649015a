"""A bare model that crashes the runtime, or computes for ever, is refused in one line; this process lives on."""

from contextlib import suppress
from pathlib import Path

import pytest
from beeagent.detection.canary import try_in_child
from beeagent.errors import InputError
from beeagent.runtime.factory import chosen_bundle
from beeagent.settings import load_settings
from support.beeagent_process import run_beeagent, tiny_model
from support.damaged_model_worker import damaged
from support.memory_bundle import bundle_of
from support.tiny_models import square_finder

CRASHES = "os.kill(os.getpid(), signal.SIGSEGV)"
COMPUTES_FOR_EVER = "time.sleep(600)"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that new processes find before all others."""
    folder = tmp_path / "modules"
    monkeypatch.setenv("PYTHONPATH", str(folder))
    package = folder / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package / "interpreter.py"


def behaving(statement: str) -> str:
    """Give a runtime that does something when it is to load a model."""
    return f"import os, signal, time\ndef Interpreter(**_):\n    {statement}\n"


def test_a_sound_model_passes() -> None:
    try_in_child(bundle_of(square_finder(classes=3)), threads=1)


def test_a_model_that_is_refused_is_refused_in_the_same_words() -> None:
    with pytest.raises(InputError, match=r"the model model\.tflite tells 3 classes apart, .* there are 1 labels"):
        try_in_child(bundle_of(square_finder(classes=3), labels=["bee"]), threads=1)


def test_a_model_that_crashes_the_runtime_is_refused(runtime: Path) -> None:
    runtime.write_text(behaving(CRASHES), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.tflite crashes the TFLite runtime \(signal 11\)"):
        try_in_child(bundle_of(square_finder()), threads=1)


def test_a_model_that_computes_for_ever_is_refused(runtime: Path) -> None:
    runtime.write_text(behaving(COMPUTES_FOR_EVER), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.tflite did not finish one inference within 3 s"):
        try_in_child(bundle_of(square_finder()), threads=1, within=3)


def test_a_child_that_fails_otherwise_says_why(runtime: Path) -> None:
    runtime.write_text(behaving("raise KeyError('odd')"), encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be tried in a process of its own: KeyError: 'odd'"):
        try_in_child(bundle_of(square_finder()), threads=1)


def test_the_command_line_refuses_it_in_one_line(runtime: Path, tmp_path: Path) -> None:
    runtime.write_text(behaving(CRASHES), encoding="utf-8")
    for command in (("--camera", "synthetic:64x48", "--broker", "none"), ("bench",)):
        ended = run_beeagent(*command, *tiny_model(tmp_path), folder=tmp_path)
        assert ended.returncode == 2, ended.stderr
        assert "tiny.tflite crashes the TFLite runtime" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr


def test_a_bundle_is_vouched_for_and_not_tried(runtime: Path) -> None:
    runtime.write_text(behaving(CRASHES), encoding="utf-8")
    assert chosen_bundle(load_settings({}, config=None)).manifest is not None


@pytest.mark.parametrize("number", [249, 447, 1114])
def test_damage_that_crashed_a_runtime_once_does_not_end_this_process(number: int) -> None:
    """LiteRT 2.3 crashes on these; another runtime may refuse them or run them."""
    with suppress(InputError):
        try_in_child(bundle_of(damaged(square_finder(classes=3), number)), threads=1)
