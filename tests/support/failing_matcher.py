"""A matcher that fails. In a module of its own, since another process has to find it by its name."""

import numpy as np
from beeagent_models.augmentation.geometry import Crop
from numpy.typing import NDArray


def failing_matcher(crop: Crop) -> NDArray[np.int64]:
    """Raise an error."""
    raise ValueError(f"no matches for {crop.pixels.shape}")
