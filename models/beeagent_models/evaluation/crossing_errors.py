"""Compares counted crossings of lines and zones with the ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass

from beeagent_models.tracks import Crossing, Crossings, Direction
from beeagent_models.tracks.crossings import Counts

MAX_SHIFT_S = 1.0
"""Maximum time difference of matching crossings in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionErrors:
    """Errors in the crossings of one line in one direction.

    Attributes:
        true: number of crossings in the ground truth.
        counted: number of crossings in the predictions.
        missed: number of true crossings without a counted one within `MAX_SHIFT_S`; None for counts without times.
        extra: number of counted crossings without a true one within `MAX_SHIFT_S`; None for counts without times.
    """

    true: int
    counted: int
    missed: int | None
    extra: int | None

    @property
    def error(self) -> float | None:
        """Relative error of the count, negative if too low; None without true crossings."""
        return (self.counted - self.true) / self.true if self.true else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossingErrors:
    """Errors in the crossings of one line, or the passages of one zone, for one label.

    Attributes:
        line: name of the line or zone.
        label: label of the objects; empty if the ground truth has none.
        into: errors of the crossings in.
        out: errors of the crossings out.
    """

    line: str
    label: str
    into: DirectionErrors
    out: DirectionErrors

    @property
    def true_net(self) -> int:
        """True crossings in minus those out."""
        return self.into.true - self.out.true

    @property
    def counted_net(self) -> int:
        """Counted crossings in minus those out."""
        return self.into.counted - self.out.counted

    @property
    def net_error(self) -> float | None:
        """Error of the net count relative to all true crossings of the line; None without true crossings."""
        crossings = self.into.true + self.out.true
        return (self.counted_net - self.true_net) / crossings if crossings else None

    def to_json(self) -> dict[str, object]:
        """Return the figures as JSON values."""
        directions = {
            direction.value: {
                "true": errors.true,
                "counted": errors.counted,
                "error": _rounded(errors.error),
                "missed": errors.missed,
                "extra": errors.extra,
            }
            for direction, errors in ((Direction.IN, self.into), (Direction.OUT, self.out))
        }
        net = {"true": self.true_net, "counted": self.counted_net, "error": _rounded(self.net_error)}
        return {"line": self.line, "label": self.label, **directions, "net": net}


def compare_crossings(truth: Crossings, counted: Sequence[Crossing]) -> list[CrossingErrors]:
    """Compare counted with true crossings, by line and label.

    If a crossing has an empty label, all labels are taken together.

    Args:
        truth: true crossings.
        counted: counted crossings of the same video.

    Returns:
        The errors for each line of the truth and each label of either.
    """
    labelled = all(one.label for one in (*truth.crossings, *counted))
    errors = []
    for place in truth.places:
        of_line = [one for one in truth.crossings if one.line == place]
        counted_of_line = [one for one in counted if one.line == place]
        labels = sorted({one.label for one in (*of_line, *counted_of_line)}) if labelled else []
        for label in labels or [""]:
            into, out = (
                _compare(
                    [one for one in of_line if one.direction is direction and label in {"", one.label}],
                    [one for one in counted_of_line if one.direction is direction and label in {"", one.label}],
                )
                for direction in (Direction.IN, Direction.OUT)
            )
            errors.append(CrossingErrors(line=place, label=label, into=into, out=out))
    return errors


def compare_counts(truth: Crossings, counts: Counts) -> list[CrossingErrors]:
    """Compare counts without times with true crossings, by line and label.

    Args:
        truth: true crossings; if one has an empty label, all labels are taken together.
        counts: counts of the same video.

    Returns:
        The errors for each line of the truth and each label of either.
    """
    labelled = all(one.label for one in truth.crossings)
    errors = []
    for place in truth.places:
        of_line = [one for one in truth.crossings if one.line == place]
        by_label = counts.get(place, {})
        labels = sorted({one.label for one in of_line} | by_label.keys()) if labelled else []
        for label in labels or [""]:
            into, out = (
                DirectionErrors(
                    true=sum(one.direction is direction and label in {"", one.label} for one in of_line),
                    counted=sum(both[direction] for name, both in by_label.items() if label in {"", name}),
                    missed=None,
                    extra=None,
                )
                for direction in (Direction.IN, Direction.OUT)
            )
            errors.append(CrossingErrors(line=place, label=label, into=into, out=out))
    return errors


def _compare(truth: Sequence[Crossing], counted: Sequence[Crossing]) -> DirectionErrors:
    """Match the crossings of one line in one direction greedily by time."""
    times = sorted(one.position_s for one in truth)
    others = sorted(one.position_s for one in counted)
    same = index = other = 0
    while index < len(times) and other < len(others):
        shift = others[other] - times[index]
        same += abs(shift) <= MAX_SHIFT_S
        index += shift >= -MAX_SHIFT_S
        other += shift <= MAX_SHIFT_S
    return DirectionErrors(true=len(times), counted=len(others), missed=len(times) - same, extra=len(others) - same)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
