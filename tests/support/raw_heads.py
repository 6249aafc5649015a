"""Detectors whose heads compute simple functions of the input."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from beeagent.detection import Fit
from beeagent_export.heads import BoxScales, RawHeads
from numpy.typing import NDArray


def make_heads(  # noqa: PLR0913 - what a detector is made of
    function: Callable[[Any], tuple[Any, Any]],
    *,
    anchors: NDArray[np.float32],
    labels: Sequence[str],
    size: int | tuple[int, int],
    mean: float = 0.0,
    std: float = 1.0,
    box_scales: BoxScales | None = None,
) -> RawHeads:
    """Make heads of a TensorFlow function that takes images (1, height, width, 3).

    Args:
        function: function of the normalised images.
        anchors: see `RawHeads`, like all others.
        labels: class names.
        size: width and height of the input, or its side.
        mean: mean of the input.
        std: standard deviation of the input.
        box_scales: scales of the box codes.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and may not be there

    width, height = (size, size) if isinstance(size, int) else size
    signature = [tf.TensorSpec([1, height, width, 3], tf.float32, name="images")]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    return RawHeads(
        function=concrete,
        width=width,
        height=height,
        fit=Fit.STRETCH,
        mean=mean,
        std=std,
        labels=tuple(labels),
        anchors=anchors,
        box_scales=box_scales or BoxScales(),
    )


def free_heads(*, count: int, classes: int, seed: int, box_scales: BoxScales | None = None) -> tuple[RawHeads, int]:
    """Make heads that give whatever numbers stand in their input, with anchors of random place and size.

    Returns:
        The heads, and the side of their input. Its first `count * (4 + classes)` numbers are, anchor by anchor,
        the box code and the scores.
    """
    import tensorflow as tf  # noqa: PLC0415

    width = 4 + classes
    size = int(np.ceil(np.sqrt(count * width / 3)))
    rng = np.random.default_rng(seed)
    anchors = np.concatenate([rng.random((count, 2)), rng.uniform(0.05, 0.4, (count, 2))], axis=1)

    def function(images: Any) -> tuple[Any, Any]:  # noqa: ANN401 - TensorFlow ships no types
        rows = tf.reshape(tf.reshape(images, [1, -1])[:, : count * width], [1, count, width])
        return rows[..., :4], rows[..., 4:]

    labels = [f"class{index}" for index in range(classes)]
    heads = make_heads(function, anchors=anchors.astype(np.float32), labels=labels, size=size, box_scales=box_scales)
    return heads, size


def convert_as_they_are(heads: RawHeads) -> bytes:
    """Convert heads without the step from pixels to numbers, so that any numbers can be fed to `free_heads`."""
    import tensorflow as tf  # noqa: PLC0415

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([heads.function], tf.Module()).convert())


def colour_heads(*, mean: float, std: float, size: int = 32) -> RawHeads:
    """Make heads with one anchor, the middle quarter, whose three scores are the mean of red, green and blue.

    The mean is taken over the whole image, in ratios of 255.
    """
    import tensorflow as tf  # noqa: PLC0415

    def function(images: Any) -> tuple[Any, Any]:  # noqa: ANN401
        means = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
        scores = tf.reshape(means * (std / 255) + mean / 255, [1, 1, 3])
        return tf.zeros([1, 1, 4]) * scores[..., :1], scores

    anchors = np.array([[0.5, 0.5, 0.5, 0.5]], dtype=np.float32)
    return make_heads(function, anchors=anchors, labels=("red", "green", "blue"), size=size, mean=mean, std=std)


def grid_heads(*, size: tuple[int, int], cells: tuple[int, int]) -> RawHeads:
    """Make heads that find what is red, green or blue on a grid.

    A cell's score for a colour is the mean over the cell of what its channel has more than the two others together, in
    ratios of 255. Its box is the cell.

    Args:
        size: width and height of the input in pixels.
        cells: columns and rows of the grid; they divide the size.
    """
    import tensorflow as tf  # noqa: PLC0415

    (width, height), (columns, rows) = size, cells
    weights = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)

    def function(images: Any) -> tuple[Any, Any]:  # noqa: ANN401
        pixels = (images * 128 + 127) / 255
        colours = tf.nn.relu(tf.nn.conv2d(pixels, weights.reshape(1, 1, 3, 3), 1, "VALID"))
        means = tf.nn.avg_pool2d(
            colours, (height // rows, width // columns), (height // rows, width // columns), "VALID"
        )
        scores = tf.reshape(means, [1, rows * columns, 3])
        return tf.zeros([1, rows * columns, 4]) * scores[..., :1], scores

    anchors = [
        ((row + 0.5) / rows, (column + 0.5) / columns, 1 / rows, 1 / columns)
        for row in range(rows)
        for column in range(columns)
    ]
    return make_heads(
        function,
        anchors=np.array(anchors, np.float32),
        labels=("red", "green", "blue"),
        size=size,
        mean=127.0,
        std=128.0,
    )
