"""Class loss and box loss."""

from typing import Any

from keras import ops

Tensor = Any

_MAX_LOG_RATIO = 4.0


def focal_loss(targets: Tensor, logits: Tensor, *, alpha: float = 0.25, gamma: float = 1.5) -> Tensor:
    """Return the focal loss, which down-weights easy examples (Lin et al., "Focal Loss", 2017).

    Args:
        targets: float32, shape (batch, anchors, 1): class id + 1 for positive anchors, 0 for negative ones, below 0 for
            ignored ones.
        logits: float32, shape (batch, anchors, classes).
        alpha: weight of positives; negatives have 1 - alpha.
        gamma: focusing parameter; 0 is the cross-entropy.

    Returns:
        A scalar: the sum over anchors and classes, divided by the number of positive anchors.
    """
    classes = ops.cast(ops.arange(1, logits.shape[-1] + 1), logits.dtype)
    positive = ops.cast(ops.equal(targets, classes), logits.dtype)
    not_ignored = ops.cast(targets >= 0, logits.dtype)
    sign = 2 * positive - 1
    # log p of the target, numerically stable for large logits of either sign.
    log_probability = -ops.softplus(-sign * logits)
    modulation = ops.exp(gamma * -ops.softplus(sign * logits))
    weight = positive * alpha + (1 - positive) * (1 - alpha)
    total = ops.sum(-weight * modulation * log_probability * not_ignored)
    return total / ops.maximum(ops.sum(ops.cast(targets > 0, logits.dtype)), 1.0)


def box_loss(targets: Tensor, codes: Tensor) -> Tensor:
    """Return the GIoU loss (Rezatofighi et al., "Generalized Intersection over Union", 2019).

    It is computed in units of each anchor, because GIoU is invariant to the scale of an axis.

    Args:
        targets: float32, shape (batch, anchors, 5): ty, tx, th, tw, and 1 for positive anchors, else 0.
        codes: float32, shape (batch, anchors, 4): predicted box codes.

    Returns:
        A scalar: the mean of 1 - GIoU over the positive anchors, 0 to 2.
    """
    positive = targets[..., 4]
    size, target_size = _size(codes), _size(targets[..., :4])
    center, target_center = codes[..., :2], targets[..., :2]
    low, high = center - size / 2, center + size / 2
    target_low, target_high = target_center - target_size / 2, target_center + target_size / 2
    intersection = ops.prod(ops.relu(ops.minimum(high, target_high) - ops.maximum(low, target_low)), axis=-1)
    hull = ops.prod(ops.maximum(high, target_high) - ops.minimum(low, target_low), axis=-1)
    union = ops.prod(size, axis=-1) + ops.prod(target_size, axis=-1) - intersection
    giou = intersection / (union + 1e-7) - (hull - union) / (hull + 1e-7)
    return ops.sum((1 - giou) * positive) / ops.maximum(ops.sum(positive), 1.0)


def _size(codes: Tensor) -> Tensor:
    return ops.exp(ops.clip(codes[..., 2:4], -_MAX_LOG_RATIO, _MAX_LOG_RATIO))
