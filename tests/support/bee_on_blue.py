"""A synthetic bee on a blue board, and its cutout."""

import cv2
import numpy as np
from beeagent_models.augmentation.cutouts import Cutout, cut_out
from numpy.typing import NDArray

BLUE, BROWN = (190, 140, 40), (40, 60, 90)
BOX = np.array([[50, 40, 110, 80]], np.float32)
"""Loose around the bee: left, top, right, bottom."""


def bee_on_blue() -> NDArray[np.uint8]:
    """Draw a bee of 52x24 pixels in an image of 160x120."""
    image = np.full((120, 160, 3), BLUE, np.uint8)
    cv2.ellipse(image, (80, 60), (26, 12), 0, 0, 360, BROWN, -1)
    return image


def bee_cutout() -> Cutout:
    """Cut the bee out."""
    (cutout,) = cut_out(bee_on_blue(), BOX, np.array([0]))
    return cutout
