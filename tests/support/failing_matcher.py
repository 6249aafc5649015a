"""A matcher that fails, in a module from which another process can import it."""

import numpy as np
from beeagent_models.augmentation.geometry import Crop
from numpy.typing import NDArray


def failing_matcher(crop: Crop) -> NDArray[np.int64]:
    """Raise an error."""
    raise ValueError(f"no matches for {crop.pixels.shape}")
