"""Comparing counted crossings of lines with the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from beeagent_models.tracks import Crossing, Crossings, Direction
from beeagent_models.tracks.crossings import Counts

MAX_SHIFT_S = 1.0
"""Seconds by which a crossing may be counted early or late and still be the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionErrors:
    """The crossings of one line in one direction.

    Attributes:
        true: number in the truth.
        counted: number in the predictions.
        missed: of the true ones, those that were not counted within `MAX_SHIFT_S`; None for a count without times.
        extra: of the counted ones, those that are none; likewise.
    """

    true: int
    counted: int
    missed: int | None
    extra: int | None

    @property
    def error(self) -> float | None:
        """By how much the count is too high (or too low: negative), as a ratio of the true one; None without any."""
        return (self.counted - self.true) / self.true if self.true else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossingErrors:
    """The crossings of one line, or the passages of one zone, by one label.

    Attributes:
        line: its name.
        label: of the objects; empty where the truth names none.
        into: the crossings in.
        out: the crossings out.
    """

    line: str
    label: str
    into: DirectionErrors
    out: DirectionErrors

    @property
    def true_net(self) -> int:
        """True crossings in less those out."""
        return self.into.true - self.out.true

    @property
    def counted_net(self) -> int:
        """Counted crossings in less those out."""
        return self.into.counted - self.out.counted

    @property
    def net_error(self) -> float | None:
        """By how much the net count is too high, as a ratio of all true crossings of the line; None without any."""
        crossings = self.into.true + self.out.true
        return (self.counted_net - self.true_net) / crossings if crossings else None

    def to_json(self) -> dict[str, object]:
        """Return all figures by their names."""
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
    """Compare the counted crossings of each line of the truth, by label.

    A label that is empty, in the truth or in the predictions, stands for all labels.

    Args:
        truth: the true crossings.
        counted: those to compare, of the same video.

    Returns:
        One for each line and label of the truth or the predictions.
    """
    labelled = all(one.label for one in (*truth.crossings, *counted))
    found = []
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
            found.append(CrossingErrors(line=place, label=label, into=into, out=out))
    return found


def compare_counts(truth: Crossings, counts: Counts) -> list[CrossingErrors]:
    """Compare the number of counted crossings of each line of the truth, by label.

    Args:
        truth: the true crossings; where one has no label, all labels are taken together.
        counts: of the same video.

    Returns:
        One for each line and label of the truth or the predictions.
    """
    labelled = all(one.label for one in truth.crossings)
    found = []
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
            found.append(CrossingErrors(line=place, label=label, into=into, out=out))
    return found


def _compare(truth: Sequence[Crossing], counted: Sequence[Crossing]) -> DirectionErrors:
    """Compare the crossings of one line in one direction, the earliest possible pairs first."""
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
