"""Random synthetic images for training: scenes of bees with exact boxes, and backgrounds.

The bees and their surroundings are those of the agent's synthetic camera, `beeagent.camera.synthetic`.
"""

from beeagent_models.synthetic.background import random_background
from beeagent_models.synthetic.frame import random_scene_frame

__all__ = ["random_background", "random_scene_frame"]
