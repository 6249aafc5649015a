"""A honeybee, drawn from nothing. Proportions are those of a worker of Apis mellifera."""

import math

import numpy as np

from beeagent.camera.synthetic.body import draw_body
from beeagent.camera.synthetic.canvas import Canvas
from beeagent.camera.synthetic.limbs import draw_legs, draw_wings
from beeagent.camera.synthetic.look import BeeLook, BeePose
from beeagent.camera.synthetic.sprite import Sprite, trimmed

_SIDE = 1.9
"""Width and height of the drawing in body lengths: room for spread wings, legs and feelers."""


_FACTORS = ((110, 1.5), (60, 2.0), (24, 3.0), (0, 4.0))
"""From which body length in pixels a bee is drawn so many times larger."""


def draw_bee(look: BeeLook, pose: BeePose, *, length: float, rng: np.random.Generator) -> Sprite:
    """Draw one bee heading to the right, larger than asked for, and shrink it.

    Args:
        look: its colours and build.
        pose: its posture.
        length: of the body in pixels, at least 1.
        rng: for hair and mottling.

    Returns:
        A sprite whose middle is the middle of the body, without a shadow.
    """
    side = max(4, round(_SIDE * length))
    # The smaller the bee, the more it gains from being drawn larger; lines are smooth at any size.
    factor = next(factor for least, factor in _FACTORS if length >= least)
    canvas = Canvas(round(side * factor), scale=length * factor, pose=pose)
    upright = math.cos(pose.roll) > 0
    (draw_legs if upright else draw_wings)(canvas, look, pose)
    draw_body(canvas, look, rng)
    (draw_wings if upright else draw_legs)(canvas, look, pose)
    return trimmed(canvas.sprite(side))
