"""Random drawn images for training: scenes with bees and their exact boxes, and backgrounds without.

The bees and their surroundings are those of the agent's synthetic camera, `beeagent.camera.synthetic`.
"""

from beeagent_models.synthetic.background import random_background
from beeagent_models.synthetic.frame import random_scene_frame

__all__ = ["random_background", "random_scene_frame"]
