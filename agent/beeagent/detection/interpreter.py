"""The TFLite interpreter of LiteRT or, where LiteRT has no wheel, of tflite-runtime."""

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from beeagent.errors import BeeagentError, InputError, install_hint

TensorDetails = dict[str, Any]


class Interpreter(Protocol):
    """The used part of the interface of both runtimes' interpreters."""

    def allocate_tensors(self) -> None:
        """Allocate the tensors; must be called first."""

    def get_input_details(self) -> list[TensorDetails]:
        """Return `index`, `name`, `shape`, `dtype` and `quantization` of each input."""

    def get_output_details(self) -> list[TensorDetails]:
        """Return `index`, `name`, `shape`, `dtype` and `quantization` of each output."""

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Return the names of inputs and outputs by signature."""

    def set_tensor(self, index: int, value: NDArray[Any]) -> None:
        """Copy a value into an input."""

    def invoke(self) -> None:
        """Run the model."""

    def get_tensor(self, index: int) -> NDArray[Any]:
        """Return a copy of an output."""


def runtime_name() -> str:
    """Return the package name of the installed runtime, `ai_edge_litert` or `tflite_runtime`.

    Raises:
        BeeagentError: neither is installed.
    """
    for name in ("ai_edge_litert", "tflite_runtime"):
        try:
            importlib.import_module(f"{name}.interpreter")
        except ImportError:
            continue
        return name
    raise BeeagentError(
        "no TFLite runtime is installed: pip install ai-edge-litert, or on 32-bit Arm, with Python 3.10 or 3.11, "
        f"{install_hint('tflite-runtime')}"
    )


def load_interpreter(model: bytes, *, name: str, threads: int) -> Interpreter:
    """Load a model, ready to be invoked.

    The model is loaded from memory, so that the hashed bytes are run. An interpreter is not thread-safe.

    Args:
        model: the content of a .tflite file.
        name: name of the model, for errors.
        threads: number of CPU threads, at least 1.

    Raises:
        InputError: the bytes are not a model that this runtime can run.
        BeeagentError: no runtime is installed, or it does not work on this machine.
    """
    if len(model) < 8 or model[4:8] != b"TFL3":
        raise InputError(f"{name} is not a TFLite model: its header is not that of one; use a .tflite file")
    runtime = importlib.import_module(f"{runtime_name()}.interpreter")
    try:
        interpreter: Interpreter = runtime.Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:  # a damaged model may ask for any amount of memory
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} cannot be loaded as a TFLite model: {reason}") from error
    except AttributeError as error:
        # tflite-runtime 2.14 imports beside NumPy 2 and fails here.
        raise BeeagentError(
            f"the TFLite runtime does not work with NumPy {np.__version__}: install 'numpy<2'"
        ) from error
    return interpreter
