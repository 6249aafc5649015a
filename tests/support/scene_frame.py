"""A synthetic scene with the boxes of its bees."""

from beeagent.camera.synthetic.scene import Scene
from beeagent_models.synthetic.boxes import SceneFrame, visible_boxes


def render(scene: Scene) -> SceneFrame:
    image, placed = scene.draw()
    return SceneFrame(pixels=image, boxes=visible_boxes(image.shape[:2], placed))
