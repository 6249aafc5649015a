"""From the raw heads to TFLite: quantization by TensorFlow's converter."""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from beeagent.errors import BeeagentError
from numpy.typing import NDArray

from beeagent_export.heads import RawHeads

BOX_CODES_OUTPUT = "output_0"
SCORES_OUTPUT = "output_1"


class Precision(str, Enum):
    """What the converted model computes in."""

    INT8 = "int8"
    """Weights (per channel) and activations in int8."""
    DYNAMIC = "dynamic"
    """Weights in int8, activations quantized on the fly."""
    FLOAT16 = "float16"
    """Weights in float16, the rest in float32."""
    FLOAT32 = "float32"
    """Everything in float32."""


def convert_heads(heads: RawHeads, *, precision: Precision, calibration: Iterable[NDArray[np.uint8]] = ()) -> bytes:
    """Convert the raw heads to a TFLite model.

    Its signature `serving_default` has one input, `images`, and gives `output_0`, the box codes, and `output_1`,
    the scores, both float32. The input is uint8, shape (1, height, width, 3), RGB, pixels as they are, whatever the
    precision: the same code can feed all variants.

    Args:
        heads: to convert.
        precision: of the result.
        calibration: images, each uint8, shape (height, width, 3), RGB, from which the range of every
            activation is learned; needed for int8 alone.

    Raises:
        ValueError: int8 without an image.
        BeeagentError: the converter failed, or gave a model that reads pixels otherwise than was asked.
    """
    import tensorflow as tf  # noqa: PLC0415 - seconds of start-up that only an export should pay

    # int8 needs no step in front: its input's own scale normalises.
    function = heads.function if precision is Precision.INT8 else _taking_pixels(heads)
    # An empty module: without one the converter takes a path that it calls deprecated and loses the signature.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if precision is not Precision.FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if precision is Precision.INT8:
        images = iter(calibration)
        first = next(images, None)
        if first is None:
            raise ValueError("int8 needs at least one image for calibration")
        converter.representative_dataset = lambda: _representative(heads, first, images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
    try:
        model = bytes(converter.convert())
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BeeagentError(f"TensorFlow could not convert the model to TFLite {precision.value}: {reason}") from error
    if precision is Precision.INT8:
        _check_pixel_scale(model, heads)
    return model


def _taking_pixels(heads: RawHeads) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    """Return the function of the heads with uint8 pixels as its input, normalised inside."""
    import tensorflow as tf  # noqa: PLC0415 - as above

    signature = [tf.TensorSpec([1, heads.height, heads.width, 3], tf.uint8, name="images")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator, unused-ignore]  # TensorFlow ships no types
    def pixels_to_heads(images: Any) -> Any:  # noqa: ANN401
        return heads.function((tf.cast(images, tf.float32) - heads.mean) / heads.std)

    return pixels_to_heads.get_concrete_function()


def _representative(
    heads: RawHeads, first: NDArray[np.uint8], others: Iterator[NDArray[np.uint8]]
) -> Iterator[list[NDArray[np.float32]]]:
    """Return the calibration images, with the whole range of pixel values in the first of them.

    The input's scale comes from the smallest and largest value seen. Only if they are 0 and 255 does the scale
    become 1 / std and the zero point the mean, so that a uint8 pixel goes in as it is. Two pixels of one image
    see to that, and change nothing else.
    """
    first = first.copy()
    first[0, 0], first[0, 1] = 0, 255
    yield [heads.normalise(first)]
    for image in others:
        yield [heads.normalise(image)]


def _check_pixel_scale(model: bytes, heads: RawHeads) -> None:
    details: dict[str, Any] = Interpreter(model_content=model).get_input_details()[0]
    scale, zero_point = details["quantization"]
    # A mean between two pixel values, such as 127.5, falls on either: half a grey level.
    if not (np.isclose(scale * heads.std, 1.0, rtol=1e-4) and abs(zero_point - heads.mean) <= 0.5 + 1e-3):
        raise BeeagentError(
            f"the converted model reads pixels as (pixel - {zero_point}) * {scale:.6g}, "
            f"not as (pixel - {heads.mean:g}) / {heads.std:g}: this version of TensorFlow is not supported"
        )
