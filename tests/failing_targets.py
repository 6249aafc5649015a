"""Targets that cannot be made. In a module of its own, since another process has to find it by its name."""

import numpy as np
from beeagent_models.datasets.augment_geometry import Crop
from numpy.typing import NDArray


def failing_targets(crop: Crop) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fail, and say so."""
    raise ValueError(f"no targets for {crop.pixels.shape}")
