"""One drawn picture and the truth about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One drawn picture and the truth about it.

    Attributes:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, within the picture, tight around what
            can be seen of each bee's body and wings; legs, feelers, shadows and motion smear lie outside.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
