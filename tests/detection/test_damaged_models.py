"""A damaged model runs, or is refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import Detector, DetectorOptions, runtime_name
from beeagent.detection.interpreter import load_interpreter
from beeagent.errors import InputError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.memory_bundle import bundle_of
from support.tflite_graph import Graph
from support.tiny_models import edge_finder, square_finder

MODEL = square_finder(classes=3)
WORKER = Path(__file__).parents[1] / "support" / "damaged_model_worker.py"

checks_models = pytest.mark.skipif(
    runtime_name() == "tflite_runtime", reason="tflite-runtime does not check a model's structure: cut ones crash it"
)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\x89PNG\r\n\x1a\n" * 20, b"PK\x03\x04 bundle.zip", b"<!DOCTYPE html><html>404</html>"]
)
def test_content_that_is_not_a_model_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"the model model\.tflite is not a TFLite model"):
        Detector(bundle_of(content), DetectorOptions())


@checks_models
@settings(max_examples=150)
@given(st.integers(0, len(MODEL) - 1))
@example(len(MODEL) - 1)
@example(8)
def test_a_model_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(InputError, match=r"model\.tflite") as caught:
        Detector(bundle_of(MODEL[:length]), DetectorOptions(threads=1))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("model", [square_finder(classes=3), edge_finder()], ids=["with the op", "without"])
def test_a_model_with_changed_bytes_runs_or_is_refused(model: bytes) -> None:
    """Both runtimes crash on a few such models, or never end; see `test_probe.py`."""
    answers: dict[int, str] = {}
    crashes, start, end = 0, 0, 100
    while start < end:
        worker = subprocess.run(
            [sys.executable, str(WORKER), str(start), str(end)],
            input=model,
            capture_output=True,
            check=False,
            timeout=200,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        lines = worker.stdout.decode().splitlines()
        assert lines, worker.stderr.decode()[-2000:]
        for line in lines:
            number, _, answer = line.partition(" ")
            answers[int(number)] = answer
        start = max(answers) + 1
        if worker.returncode:
            assert worker.returncode < 0, worker.stderr.decode()[-2000:]
            crashes += 1
            answers.pop(start - 1)
    unexpected = {
        number: answer for number, answer in answers.items() if answer != "found" and not answer.startswith("refused: ")
    }
    assert not unexpected
    assert all(answer.isprintable() for answer in answers.values())
    assert len(answers) == end - crashes
    assert any(answer == "found" for answer in answers.values())
    assert any(answer.startswith("refused: ") for answer in answers.values())


def test_a_model_with_an_unknown_operation_names_it() -> None:
    model = MODEL.replace(b"TFLite_Detection_PostProcess\x00", b"TFLite_Detection_PostProcesz\x00", 1)
    assert model != MODEL
    # The name is a tensor's as well; the operation's is the one that counts.
    model = MODEL.replace(b"TFLite_Detection_PostProcess", b"TFLite_Detection_PostProcesz")
    with pytest.raises(InputError, match="TFLite_Detection_PostProcesz"):
        Detector(bundle_of(model), DetectorOptions())


def test_names_that_are_not_text_are_refused() -> None:
    model = edge_finder().replace(b"Identity_2", b"Identity\xff\xfe")
    with pytest.raises(InputError, match=r"model\.tflite cannot be run") as caught:
        Detector(bundle_of(model), DetectorOptions())
    assert str(caught.value).isprintable()


def test_a_model_that_fails_when_run_is_refused_at_start() -> None:
    """It gathers one of three boxes by the brightness of the image: the fault shows only when it runs."""
    graph = Graph()
    image = graph.tensor((1, 8, 8, 3), name="image")
    axes = graph.constant([0, 1, 2], dtype="int32")
    bright = graph.operator("REDUCE_MAX", [image, axes], (3,), options_type="ReducerOptions", keepDims=False)
    far = graph.operator("MUL", [bright, graph.constant([1000.0] * 3)], (3,), options_type="MulOptions")
    which = graph.operator("CAST", [far], (3,), dtype="int32")
    three = graph.constant(np.zeros((1, 3, 4)))
    boxes = graph.operator("GATHER", [three, which], (1, 3, 4), name="boxes", options_type="GatherOptions", axis=1)
    rows = [graph.operator("ABS", [graph.constant([[0, 1, 2]])], (1, 3), name=name) for name in ("classes", "scores")]
    with pytest.raises(InputError, match=r"model\.tflite cannot be run: .*index"):
        Detector(bundle_of(graph.build([image], [boxes, *rows])), DetectorOptions())


def test_an_interpreter_is_ready_to_run() -> None:
    interpreter = load_interpreter(MODEL, name="the model", threads=1)
    interpreter.set_tensor(int(interpreter.get_input_details()[0]["index"]), np.zeros((1, 64, 64, 3), dtype=np.uint8))
    interpreter.invoke()
    assert len(interpreter.get_output_details()) == 4
