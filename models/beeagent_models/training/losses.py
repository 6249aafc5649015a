"""The losses that training minimises."""

from typing import Any

from keras import ops

Tensor = Any

_LARGEST_LOG_RATIO = 4.0


def focal_loss(targets: Tensor, logits: Tensor, *, alpha: float = 0.25, gamma: float = 1.5) -> Tensor:
    """Classification loss that easy anchors hardly count in (Lin et al., "Focal Loss", 2017).

    Args:
        targets: float32, shape (batch, anchors, 1): class id + 1, 0 for background, negative where the anchor
            does not count.
        logits: float32, shape (batch, anchors, classes).
        alpha: weight of objects; background has 1 - alpha.
        gamma: how much less easy anchors count.

    Returns:
        A scalar: the sum over anchors and classes, over the number of anchors that are responsible for objects.
    """
    classes = ops.cast(ops.arange(1, logits.shape[-1] + 1), logits.dtype)
    wanted = ops.cast(ops.equal(targets, classes), logits.dtype)
    counted = ops.cast(targets >= 0, logits.dtype)
    sign = 2 * wanted - 1
    # log p of the wanted answer, stable for large logits of either sign.
    log_probability = -ops.softplus(-sign * logits)
    modulation = ops.exp(gamma * -ops.softplus(sign * logits))
    weight = wanted * alpha + (1 - wanted) * (1 - alpha)
    total = ops.sum(-weight * modulation * log_probability * counted)
    return total / ops.maximum(ops.sum(ops.cast(targets > 0, logits.dtype)), 1.0)


def box_loss(targets: Tensor, codes: Tensor) -> Tensor:
    """Generalised intersection over union of boxes (Rezatofighi et al., "GIoU", 2019).

    It is taken in units of each anchor, where a box is its code: the measure does not change when an axis is scaled.

    Args:
        targets: float32, shape (batch, anchors, 5): ty, tx, th, tw, and 1 where the anchor has an object.
        codes: float32, shape (batch, anchors, 4).

    Returns:
        A scalar: the mean of 1 - GIoU over the anchors that are responsible for objects, 0 to 2.
    """
    counted = targets[..., 4]
    size, wanted_size = _size(codes), _size(targets[..., :4])
    center, wanted_center = codes[..., :2], targets[..., :2]
    low, high = center - size / 2, center + size / 2
    wanted_low, wanted_high = wanted_center - wanted_size / 2, wanted_center + wanted_size / 2
    shared = ops.prod(ops.relu(ops.minimum(high, wanted_high) - ops.maximum(low, wanted_low)), axis=-1)
    hull = ops.prod(ops.maximum(high, wanted_high) - ops.minimum(low, wanted_low), axis=-1)
    union = ops.prod(size, axis=-1) + ops.prod(wanted_size, axis=-1) - shared
    giou = shared / (union + 1e-7) - (hull - union) / (hull + 1e-7)
    return ops.sum((1 - giou) * counted) / ops.maximum(ops.sum(counted), 1.0)


def _size(codes: Tensor) -> Tensor:
    return ops.exp(ops.clip(codes[..., 2:4], -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO))
