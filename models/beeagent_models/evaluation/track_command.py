"""`beeagent evaluate --tracks --crossings`: evaluates tracks and crossings at several frame rates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beeagent.errors import InputError
from beeagent.output import shown
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beeagent_models.evaluation.crossing_errors import MAX_SHIFT_S, CrossingErrors, compare_counts, compare_crossings
from beeagent_models.evaluation.track_metrics import MIN_IOU, TrackMetrics, measure_tracks
from beeagent_models.tracks import (
    Crossing,
    Crossings,
    Tracks,
    find_track_crossings,
    find_zone_passages,
    read_counts,
    read_crossings,
    read_tracks,
)
from beeagent_models.tracks.crossings import is_crossings_file

RATE = "{rate}"
"""Placeholder for the rate in the name of the predictions file."""

_MAX_RATES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEvaluationOptions:
    """Options of an evaluation of tracks and crossings.

    Attributes:
        tracks: file with the true tracks; None to compare no tracks.
        crossings: file with the true crossings; None to compare no crossings.
        predictions: file with tracks or crossings; with `{rate}` in its name, one file per rate.
        rates: frame rates, such as `30,15,10,5`; None for that of the video.

    Raises:
        InputError: an option is missing.
    """

    tracks: Path | None = None
    crossings: Path | None = None
    predictions: Path | None = None
    rates: str | None = None

    def __post_init__(self) -> None:
        if self.tracks is None and self.crossings is None:
            raise InputError("--predictions and --rates need a ground truth: give --tracks TRUTH or --crossings TRUTH")
        if self.predictions is None:
            raise InputError("--tracks and --crossings need predictions: give --predictions FILE")


@dataclass(frozen=True, slots=True)
class _AtRate:
    """The metrics at one frame rate; `rate` is None if unknown."""

    rate: float | None
    tracks: TrackMetrics | None
    crossings: tuple[CrossingErrors, ...]


def run_track_evaluation(options: TrackEvaluationOptions, *, as_json: bool) -> None:
    """Evaluate predicted tracks and crossings at each rate and print the metrics.

    Args:
        options: options of the evaluation.
        as_json: print JSON instead of tables.

    Raises:
        InputError: an option or a file cannot be used.
    """
    truth = None if options.tracks is None else read_tracks(options.tracks, is_truth=True)
    crossings = None if options.crossings is None else read_crossings(options.crossings)
    if truth is not None and not len(truth.frame):
        raise InputError(f"{options.tracks} has no tracks: give the ground truth of a video with objects")
    video_rate = _video_rate(truth, crossings, options)
    figures = [
        _at_rate(truth, crossings, step, rate, options) for step, rate in _steps(options.rates, video_rate, options)
    ]
    if as_json:
        report = {
            "tracks": None if options.tracks is None else str(options.tracks),
            "crossings": None if options.crossings is None else str(options.crossings),
            "predictions": str(options.predictions),
            "rates": [
                {
                    "rate": one.rate,
                    "tracks": None if one.tracks is None else one.tracks.to_json(),
                    "crossings": [errors.to_json() for errors in one.crossings],
                }
                for one in figures
            ],
        }
        print(json.dumps(report, indent=2))  # noqa: T201 - the command's result
        return
    console = Console()
    if truth is not None:
        console.print(_track_table(figures))
        console.print(Text(f"IDF1, MOTA and switches at IoU {MIN_IOU:g}; HOTA over IoU 0.05 to 0.95", style="dim"))
    if crossings is not None:
        console.print(_crossing_table(figures))
        console.print(
            Text(
                "error: relative to the true number; of net, relative to all true crossings. missed: true crossings "
                f"without a counted one within {MAX_SHIFT_S:g} s; extra: counted crossings without a true one",
                style="dim",
            )
        )


def _video_rate(truth: Tracks | None, crossings: Crossings | None, options: TrackEvaluationOptions) -> float | None:
    rate = None if truth is None else truth.rate
    if crossings is None:
        return rate
    if rate is not None and abs(rate - crossings.rate) > 0.001 * rate:
        raise InputError(
            f"{options.crossings}: rate is {crossings.rate:g} frames/s, that of {options.tracks} is {rate:g}: "
            "give the ground truth of one video"
        )
    return crossings.rate


def _steps(
    text: str | None, video_rate: float | None, options: TrackEvaluationOptions
) -> list[tuple[int, float | None]]:
    """Return the frame step and the rate of each evaluation."""
    if text is None:
        if RATE in str(options.predictions) and video_rate is None:
            raise InputError(f"--predictions {options.predictions} needs --rates")
        return [(1, video_rate)]
    if video_rate is None:
        raise InputError(f"{options.tracks} has no frame rate, which --rates needs: put a seqinfo.ini beside it")
    steps: list[tuple[int, float | None]] = []
    for part in text.split(","):
        try:
            rate = float(part)
            step = round(video_rate / rate)
        except (ValueError, ZeroDivisionError, OverflowError):
            rate, step = 0.0, 0
        if step < 1 or abs(video_rate / step - rate) > 0.01 * rate:
            allowed = ", ".join(f"{video_rate / divisor:.4g}" for divisor in (1, 2, 3, 6))
            raise InputError(
                f"--rates has {part.strip()[:20]!r}: allowed are the video's {video_rate:g} frames/s and integer "
                f"fractions of it, such as {allowed}"
            )
        steps.append((step, rate))
    if len(steps) > _MAX_RATES:
        raise InputError(f"--rates has {len(steps)} rates: allowed are {_MAX_RATES}")
    return steps


def _at_rate(
    truth: Tracks | None, crossings: Crossings | None, step: int, rate: float | None, options: TrackEvaluationOptions
) -> _AtRate:
    path = Path(str(options.predictions).replace(RATE, "" if rate is None else f"{rate:g}"))
    if is_crossings_file(path):
        if truth is not None or crossings is None:
            raise InputError(f"{path} has crossings and no tracks: leave out --tracks and give --crossings")
        _refuse_several_rates(options, path)
        return _AtRate(rate, None, tuple(compare_crossings(crossings, _read_counted(crossings, path))))
    counts = None if crossings is None else read_counts(path)
    errors: list[CrossingErrors] = []
    if crossings is not None and counts is not None:
        _refuse_several_rates(options, path)
        _refuse_other_lines(crossings, list(counts), path)
        errors = compare_counts(crossings, counts)
        if truth is None:
            return _AtRate(rate, None, tuple(errors))
    video_rate = crossings.rate if crossings is not None else truth.rate if truth is not None else None
    predicted = read_tracks(path, rate=video_rate)
    last = truth.frames if truth is not None else crossings.frames if crossings is not None else None
    if last is not None and int(predicted.frame.max(initial=0)) > last:
        raise InputError(
            f"{path} has tracks in frame {predicted.frame[-1]}, but the video of the ground truth has {last} frames"
        )
    if RATE in str(options.predictions):
        _refuse_other_frames(predicted, step, path)
    predicted = predicted.every(step)
    metrics = None
    if truth is not None:
        if not len(truth.every(step).frame):
            raise InputError(f"{options.tracks} has no tracks in every {step}th frame: give a higher rate")
        metrics = measure_tracks(truth, predicted.scaled_to(truth.size), every=step)
    if crossings is not None and counts is None:
        scaled, size, frame_rate = predicted.scaled_to(crossings.size), crossings.size, crossings.rate
        predicted_crossings = [
            *find_track_crossings(scaled, crossings.lines, size=size, rate=frame_rate),
            *find_zone_passages(scaled, crossings.zones, size=size, rate=frame_rate),
        ]
        errors = compare_crossings(crossings, predicted_crossings)
    return _AtRate(rate, metrics, tuple(errors))


def _read_counted(truth: Crossings, path: Path) -> Sequence[Crossing]:
    counted = read_crossings(path)
    _refuse_other_lines(truth, counted.places, path)
    return counted.crossings


def _refuse_other_lines(truth: Crossings, names: Sequence[str], path: Path) -> None:
    missing = next((name for name in truth.places if name not in names), None)
    if missing is not None:
        available = ", ".join(shown(name) for name in names) or "none"
        kind = "line" if any(line.name == missing for line in truth.lines) else "zone"
        raise InputError(f"{path} has no {kind} {missing!r} of the ground truth, but {available}: use the same names")


def _refuse_several_rates(options: TrackEvaluationOptions, path: Path) -> None:
    """Refuse several rates for predictions that were counted at one rate."""
    if options.rates is not None and "," in options.rates and RATE not in str(options.predictions):
        raise InputError(f"{path} was counted at one rate: give a file for each rate, with {RATE} in the name")


def _refuse_other_frames(predicted: Tracks, step: int, path: Path) -> None:
    """Refuse tracks with frames between those of the rate, whose frames are numbered differently or not subsampled."""
    other = next((int(frame) for frame in predicted.frame if (frame - 1) % step), None)
    if other is not None:
        raise InputError(
            f"{path} has tracks in frame {other}, which is not one of 1, {1 + step}, {1 + 2 * step}, …: "
            "number the frames as in the whole video"
        )


def _track_table(figures: Sequence[_AtRate]) -> Table:
    table = _table("HOTA", "DetA", "AssA", "IDF1", "MOTA", "switches", "missed", "false", "tracks", "true")
    for one in figures:
        metrics = one.tracks
        if metrics is None:
            continue
        shares = (metrics.hota, metrics.deta, metrics.assa, metrics.idf1, metrics.mota)
        counts = (metrics.switches, metrics.misses, metrics.false_alarms)
        tracks = (metrics.predicted_tracks, metrics.truth_tracks)
        table.add_row(_name(one), *(f"{100 * share:.1f}" for share in shares), *map(str, (*counts, *tracks)))
    return table


def _crossing_table(figures: Sequence[_AtRate]) -> Table:
    table = _table("", "true", "counted", "error", "missed", "extra")
    for one in figures:
        for errors in one.crossings:
            name = shown(f"{errors.line} {errors.label}".strip())
            for direction, way in (("in", errors.into), ("out", errors.out)):
                counts = (way.true, way.counted)
                unmatched = ("-" if count is None else str(count) for count in (way.missed, way.extra))
                table.add_row(
                    _name(one), Text(f"{name} {direction}"), *map(str, counts), _percent(way.error), *unmatched
                )
            net = (f"{errors.true_net:+}", f"{errors.counted_net:+}", _percent(errors.net_error))
            table.add_row(_name(one), Text(f"{name} net"), *net, "", "")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("frames/s", style="bold", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right" if name else "left")
    return table


def _name(one: _AtRate) -> str:
    return "all" if one.rate is None else f"{one.rate:g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f} %"
