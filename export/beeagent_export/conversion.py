"""Converts raw heads to TFLite with TensorFlow's converter, quantized or not."""

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
    """Precision of the converted model."""

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

    The signature `serving_default` has one input, `images`, and two float32 outputs: `output_0`, the box codes, and
    `output_1`, the scores. For every precision, the input is uint8, shape (1, height, width, 3), RGB, not normalised.

    Args:
        heads: raw heads of the source model.
        precision: precision of the TFLite model.
        calibration: representative images for the activation ranges, each uint8, shape (height, width, 3), RGB; needed
            only for int8.

    Raises:
        ValueError: int8 without a calibration image.
        BeeagentError: the converter failed, or the input quantization is not that of the normalisation.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    # With int8, the quantization of the input does the normalisation.
    function = heads.function if precision is Precision.INT8 else _with_pixel_input(heads)
    # Without a module, the converter takes a deprecated path that loses the signature.
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
        converter.representative_dataset = lambda: _representative_dataset(heads, first, images)
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


def _with_pixel_input(heads: RawHeads) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    """Return the function of the heads with uint8 input and the normalisation inside."""
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    signature = [tf.TensorSpec([1, heads.height, heads.width, 3], tf.uint8, name="images")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator, unused-ignore]  # TensorFlow ships no types
    def pixels_to_heads(images: Any) -> Any:  # noqa: ANN401
        return heads.function((tf.cast(images, tf.float32) - heads.mean) / heads.std)

    return pixels_to_heads.get_concrete_function()


def _representative_dataset(
    heads: RawHeads, first: NDArray[np.uint8], others: Iterator[NDArray[np.uint8]]
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the normalised calibration images; two pixels of the first one are set to 0 and 255.

    The converter derives the input's scale and zero point from the smallest and largest value. With 0 and 255 they
    become 1 / std and the mean, so that the quantized input is the uint8 pixel itself.
    """
    first = first.copy()
    first[0, 0], first[0, 1] = 0, 255
    yield [heads.normalise(first)]
    for image in others:
        yield [heads.normalise(image)]


def _check_pixel_scale(model: bytes, heads: RawHeads) -> None:
    details: dict[str, Any] = Interpreter(model_content=model).get_input_details()[0]
    scale, zero_point = details["quantization"]
    # The zero point is an integer, so a mean such as 127.5 is rounded by half a grey level.
    if not (np.isclose(scale * heads.std, 1.0, rtol=1e-4) and abs(zero_point - heads.mean) <= 0.5 + 1e-3):
        raise BeeagentError(
            f"the converted model reads pixels as (pixel - {zero_point}) * {scale:.6g}, "
            f"not as (pixel - {heads.mean:g}) / {heads.std:g}: this version of TensorFlow is not supported"
        )
