"""The appearance and the pose of a bee."""

from dataclasses import dataclass

import numpy as np

from beeagent.camera.synthetic.drawing import Colour


@dataclass(frozen=True, slots=True)
class BeeLook:
    """The appearance of one bee. Colours are BGR, 0 to 255.

    Attributes:
        amber: the light part of the abdomen.
        dark: the dark bands, legs and head.
        fur: the hair of the thorax.
        hairband: the pale hair at the front of each ring of the abdomen.
        band: share of each ring that is dark, 0 to 1.
        hairband_strength: 0 for a bald bee, 1 for pronounced pale rings.
        tip: share of the abdomen, from its tip, that is dark.
        gloss: strength of the highlight on the abdomen, 0 to 1.
        stoutness: factor on all widths.
        abdomen: length of the abdomen in body lengths.
        wing_tint: colour of the wing membrane.
        wing_opacity: 0 to 1.
        wing_glint: brightness of the light reflected by the wings, 0 to 1.
        pollen: colour of the loads on the hind legs; None for no loads.
    """

    amber: Colour
    dark: Colour
    fur: Colour
    hairband: Colour
    band: float
    hairband_strength: float
    tip: float
    gloss: float
    stoutness: float
    abdomen: float
    wing_tint: Colour
    wing_opacity: float
    wing_glint: float
    pollen: Colour | None


@dataclass(frozen=True, slots=True)
class BeePose:
    """The pose of a bee.

    Attributes:
        wing_angle: radians between the body's axis, backwards, and each fore wing, left and right; about 0.2
            when folded, 1.5 when spread.
        wing_beat: radians that the wings sweep while the shutter is open; 0 for wings at rest.
        roll: radians around the body's own axis; 0 seen from above, pi / 2 from the side, pi from below.
        bend: curvature of the abdomen to one side, about -0.5 to 0.5.
        gait: phase of the walk, in radians.
        legs: 0 to 1: how far the legs are extended; small in flight.
        light: direction towards the light: ahead, to the side, up; any length.
    """

    wing_angle: tuple[float, float] = (0.2, 0.2)
    wing_beat: float = 0.0
    roll: float = 0.0
    bend: float = 0.0
    gait: float = 0.0
    legs: float = 1.0
    light: tuple[float, float, float] = (0.2, -0.4, 1.0)


def random_look(rng: np.random.Generator) -> BeeLook:
    """Return a random appearance: from light Italian over striped grey Carniolan to almost black."""
    melanin = float(rng.beta(0.9, 1.3))
    grey = float(rng.random()) ** 2.5

    def mixed(light: Colour, deep: Colour, share: float, spread: float = 0.12) -> Colour:
        factor = float(rng.normal(1, spread))
        b, g, r = (factor * (a + (z - a) * share) for a, z in zip(light, deep, strict=True))
        mean, washed = (b + g + r) / 3, 0.5 * grey
        return (b + (mean - b) * washed, g + (mean - g) * washed, r + (mean - r) * washed)

    return BeeLook(
        amber=mixed((38, 128, 218), (26, 60, 112), melanin**1.2, 0.15),
        dark=mixed((24, 34, 54), (14, 17, 22), melanin, 0.25),
        fur=mixed((62, 138, 196), (44, 78, 112), melanin, 0.18),
        hairband=mixed((122, 176, 214), (130, 158, 176), melanin),
        band=float(np.clip(rng.uniform(0.22, 0.5) + 0.35 * melanin, 0, 0.9)),
        hairband_strength=float(rng.uniform(0.0, 0.95)),
        tip=float(rng.uniform(0.04, 0.28) + 0.12 * melanin),
        gloss=float(rng.random() ** 2 * 0.8),
        stoutness=float(rng.normal(1.0, 0.08)),
        abdomen=float(rng.uniform(0.5, 0.6)),
        wing_tint=mixed((150, 168, 188), (88, 108, 130), float(rng.random()), 0.12),
        wing_opacity=float(rng.uniform(0.08, 0.4)),
        wing_glint=float(rng.random() ** 3),
        pollen=_pollen(rng) if rng.random() < 0.12 else None,
    )


def _pollen(rng: np.random.Generator) -> Colour:
    """Return a random colour of pollen: from white over yellow to orange."""
    return (float(rng.uniform(10, 110)), float(rng.uniform(120, 210)), float(rng.uniform(180, 245)))
