"""A trained detector without its post-processing: the common form of every source before the conversion."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from beeagent.detection import Fit, InputSpec
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScales:
    """Divisors of the box codes (the inverse of SSD's "variances")."""

    y: float = 1.0
    x: float = 1.0
    height: float = 1.0
    width: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeads:
    """Box head and class head of a trained detector, with input and anchors.

    Attributes:
        function: TensorFlow concrete function without variables. Its input `images` is float32, shape
            (1, height, width, 3), RGB, `(pixel - mean) / std`. It returns box codes, float32, shape (1, n, 4):
            ty, tx, th, tw; and scores, float32, shape (1, n, classes), 0 to 1.
        width: input width in pixels.
        height: input height in pixels.
        fit: method of fitting a frame into the input.
        mean: mean of the normalisation, in RGB values of 0 to 255.
        std: standard deviation of the normalisation, above 0.
        labels: class names in the order of the scores.
        anchors: float32, shape (n, 4): y_center, x_center, height, width as ratios of the input.
        box_scales: divisors of the box codes.

    Raises:
        ValueError: the numbers of anchors, labels and outputs differ, or std is not positive.
    """

    function: Any
    width: int
    height: int
    fit: Fit
    mean: float
    std: float
    labels: tuple[str, ...]
    anchors: NDArray[np.float32]
    box_scales: BoxScales = BoxScales()

    def __post_init__(self) -> None:
        boxes, scores = (tuple(output.shape) for output in self.function.outputs)
        count = len(self.anchors)
        if boxes != (1, count, 4) or scores != (1, count, len(self.labels)):
            raise ValueError(
                f"box codes {boxes} and scores {scores} do not fit {count} anchors and {len(self.labels)} labels"
            )
        if not self.std > 0:
            raise ValueError(f"std is {self.std}: it must be more than 0")

    @property
    def input_spec(self) -> InputSpec:
        """Input of the model, as in a manifest."""
        return InputSpec(width=self.width, height=self.height, fit=self.fit, mean=self.mean, std=self.std)

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise an image for `function`.

        Args:
            pixels: uint8, shape (height, width, 3), RGB.

        Returns:
            float32, shape (1, height, width, 3).
        """
        return ((pixels[np.newaxis].astype(np.float32) - self.mean) / self.std).astype(np.float32)

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run `function` on a normalised image.

        Returns:
            Box codes, float32, shape (n, 4), and scores, float32, shape (n, classes).
        """
        import tensorflow as tf  # noqa: PLC0415 - takes seconds

        box_codes, scores = self.function(tf.constant(images))
        return box_codes.numpy()[0], scores.numpy()[0]

    def decode(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decode box codes as `TFLite_Detection_PostProcess` does.

        Args:
            codes: float32, shape (n, 4): ty, tx, th, tw.

        Returns:
            float32, shape (n, 4): top, left, bottom, right as ratios of the input, not clipped.
        """
        scales = self.box_scales
        scaled = codes / np.array([scales.y, scales.x, scales.height, scales.width], dtype=np.float32)
        center = scaled[:, :2] * self.anchors[:, 2:] + self.anchors[:, :2]
        half = np.exp(scaled[:, 2:]) * self.anchors[:, 2:] / 2
        return np.concatenate([center - half, center + half], axis=1).astype(np.float32)
