"""How often detections of each confidence were right."""

import numpy as np
from beeagent.detection.bundle import Reliability

from beeagent_models.evaluation import Evaluation

_BINS = 20
"""So that an end of the unsure band is known to 0.05, and a bin of a few hundred pictures holds more than chance."""


def reliability_of(evaluation: Evaluation, *, bins: int = _BINS) -> Reliability:
    """Count the detections of an evaluation, and the right ones among them, by confidence.

    Args:
        evaluation: of a detector that held back next to nothing, in all of its pictures.
        bins: of equal width from 0 to 1, at least 2; a confidence of 1 belongs to the last.
    """
    scored = [
        (found.confidences[matches.scored], matches.hits[matches.scored])
        for found, matches in zip(evaluation.found, evaluation.metrics.matches, strict=True)
    ]
    confidences = np.concatenate([confidences for confidences, _ in scored]).astype(np.float64)
    hits = np.concatenate([hits for _, hits in scored])
    places = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    return Reliability(
        detections=np.bincount(places, minlength=bins).tolist(),
        right=np.bincount(places[hits], minlength=bins).tolist(),
    )
