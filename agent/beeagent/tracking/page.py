"""The traffic of a day as a self-contained HTML page, without scripts and external resources.

The charts are SVG stretched to the width of the page; labels are separate HTML, so that they remain readable on a
phone. For accessibility, bars have titles, and the hours are in a table.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final

from beeagent.tracking.daily import BIN, Day, Gap, PlaceDay

_HOUR: Final = timedelta(hours=1)
_BUSIEST: Final = 3
_SUMMARIZED: Final = 2  # number of places in the summary
_MAX_GAPS: Final = 12  # number of listed gaps
_LABELLED_HOURS: Final = 3  # between two labels of the time axis
_MINUS: Final = "\N{MINUS SIGN}"
_TO: Final = "\N{EN DASH}"
_JOINED_TO: Final = f"\N{WORD JOINER}{_TO}\N{WORD JOINER}"  # no line break beside it

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fdfcf8; --ink: #231f17; --soft: #6a6252; --rule: #e5dfd1; --in: #b86e00;
  --out: #2b6a99; --in-area: #b86e0026; --out-area: #2b6a9926; --hatch: #8a806c; }
@media (prefers-color-scheme: dark) { :root { --paper: #17150f; --ink: #efe9da; --soft: #a89f8b;
  --rule: #383327; --in: #f0b03f; --out: #74b5e4; --in-area: #f0b03f2e; --out-area: #74b5e42e; --hatch: #7d745f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2.5rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
h1, h2, p, dl, dd, figure, ul { margin: 0; }
h1 { font-size: clamp(1.9rem, 6vw, 2.9rem); line-height: 1.1; letter-spacing: -.025em; font-weight: 680; }
h2 { font-size: 1.25rem; letter-spacing: -.01em; font-weight: 650; }
.camera { color: var(--soft); margin-bottom: .35rem; overflow-wrap: anywhere; }
.summary { font-size: 1.125rem; max-width: 42rem; margin-top: .9rem; }
section { margin-top: 2.75rem; padding-top: 1.4rem; border-top: 1px solid var(--rule); }
.kind { color: var(--soft); font-weight: 400; }
dl.figures { display: grid; grid-template-columns: repeat(4, auto); justify-content: space-between;
  gap: 1.1rem 1.5rem; margin: 1.1rem 0 1.6rem; }
.figures dt { color: var(--soft); font-size: .875rem; }
.figures dd { font-size: 2rem; line-height: 1.15; letter-spacing: -.02em; font-weight: 620; white-space: nowrap; }
.figures small { display: block; color: var(--soft); font-size: .8125rem; line-height: 1.45; letter-spacing: 0;
  white-space: normal; font-weight: 400; }
.swatch { display: inline-block; width: .65em; height: .65em; border-radius: 2px; margin-right: .45em; }
.in { background: var(--in); } .out { background: var(--out); }
figcaption { color: var(--soft); font-size: .875rem; margin-bottom: .5rem; }
figure + figure { margin-top: 1.5rem; }
.plot { display: grid; grid-template-columns: 2.75rem 1fr; }
.scale { position: relative; color: var(--soft); font-size: .75rem; }
.scale span { position: absolute; right: .55rem; transform: translateY(-50%); }
.area { position: relative; height: 15rem; } .area.low { height: 6.5rem; } .area.band { height: 1.25rem; }
.area svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.grid { stroke: var(--rule); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1; }
.bar-in { fill: var(--in); } .bar-out { fill: var(--out); }
.balance { fill: none; stroke: var(--ink); stroke-width: 1.75; stroke-linejoin: round; }
.above { fill: var(--in-area); } .below { fill: var(--out-area); }
.gap { position: absolute; top: 0; bottom: 0; opacity: .38; min-width: 2px; background:
  repeating-linear-gradient(135deg, var(--hatch) 0 1px, transparent 1px 6px); }
.area.band { border-radius: 3px; overflow: hidden; background: var(--soft); } .band .gap { opacity: 1; background:
  repeating-linear-gradient(135deg, var(--hatch) 0 1px, transparent 1px 6px) var(--paper); }
.later { position: absolute; top: 0; bottom: 0; right: 0; background: var(--paper); }
.times { grid-column: 2; position: relative; height: 1.5rem; color: var(--soft); font-size: .75rem; }
.times span { position: absolute; top: .3rem; transform: translateX(-50%); white-space: nowrap; }
.times span:first-child { transform: none; } .times span:last-child { transform: translateX(-100%); }
details { margin-top: 1.1rem; } summary { cursor: pointer; color: var(--soft); font-size: .9375rem; }
summary:hover { color: var(--ink); } summary:focus-visible { outline: 2px solid var(--out); outline-offset: 3px; }
table { border-collapse: collapse; width: 100%; max-width: 30rem; margin-top: .75rem; font-size: .9375rem; }
th { font-weight: 400; color: var(--soft); text-align: right; padding: .3rem 0; border-bottom: 1px solid var(--rule); }
td { text-align: right; padding: .3rem 0; border-bottom: 1px solid var(--rule); }
th:first-child { text-align: left; } tbody th { color: var(--ink); }
ul.gaps { list-style: none; padding: 0; margin-top: 1.1rem; }
ul.gaps li { padding: .3rem 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
ul.gaps time { display: inline-block; min-width: 8.5rem; }
ul.gaps span, .note { color: var(--soft); }
.note { font-size: .875rem; max-width: 42rem; margin-top: 1.1rem; }
@media (max-width: 40rem) { body { padding-top: 1.5rem; } dl.figures { grid-template-columns: 1fr 1fr;
  justify-content: stretch; } .area.high { height: 12rem; } .plot { grid-template-columns: 2.25rem 1fr; }
  .times .sparse { display: none; } ul.gaps time { display: block; } }
@media print { body { max-width: none; padding: 0; } details { display: none; } * { print-color-adjust: exact; } }
"""


def report_page(day: Day, *, camera: str) -> str:
    """Return the page of a day.

    Args:
        day: traffic of the day.
        camera: displayed name of the camera.
    """
    title = f"{day.day:%A}, {day.day.day} {day.day:%B %Y}"
    sections = "".join(_place_section(place, day, number) for number, place in enumerate(day.places, 1))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(camera)}: {title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n"
        f'<p class="camera">{escape(camera)}</p>\n<h1>{title}</h1>\n'
        f'<p class="summary">{escape(_summary(day))}</p>\n</header>\n<main>\n{sections}{_camera_section(day)}'
        "</main>\n</body>\n</html>\n"
    )


def _summary(day: Day) -> str:
    if not day.places:
        return "Nothing was counted on this day."
    sentences = []
    for place in day.places[:_SUMMARIZED]:
        where = f" at {_name(place, day)}" if len(day.places) > 1 else ""
        text = f"{_number(place.into)} came in and {_number(place.out)} went out{where}"
        if busiest := place.busiest_hours(1):
            text += f", busiest between {_hour(day, busiest[0])} and {_hour(day, busiest[0] + 1)}"
        sentences.append(f"{text}.")
    if day.gaps:
        lost = sum((gap.end - gap.begin for gap in day.gaps), timedelta())
        sentences.append(f"No frames came for {_duration(lost)}.")
    return " ".join(sentences)


def _place_section(place: PlaceDay, day: Day, number: int) -> str:
    balance = place.into - place.out
    hours = place.hours
    busiest = place.busiest_hours(_BUSIEST)
    first, *others = [f"{_hour(day, hour)}{_JOINED_TO}{_hour(day, hour + 1)}" for hour in busiest] or [_MINUS]
    busy = f"{_number(sum(hours[busiest[0]]))} in and out" if busiest else "no traffic"
    then = f"; then {' and '.join(others)}" if others else ""
    return (
        f'<section aria-labelledby="place-{number}">\n<h2 id="place-{number}">{escape(_name(place, day))}</h2>\n'
        f'<dl class="figures">'
        f'<div><dt><i class="swatch in"></i>In</dt><dd>{_number(place.into)}</dd></div>'
        f'<div><dt><i class="swatch out"></i>Out</dt><dd>{_number(place.out)}</dd></div>'
        f"<div><dt>Balance</dt><dd>{_signed(balance)}</dd></div>"
        f"<div><dt>Busiest hour</dt><dd>{first}<small>{busy}{then}</small></dd></div></dl>\n"
        f"{_traffic_chart(place, day)}{_balance_chart(place, day)}{_hours_table(place, day)}</section>\n"
    )


def _traffic_chart(place: PlaceDay, day: Day) -> str:
    top = _nice(max(max(both) for both in place.bins))
    bars = []
    for index, both in enumerate(place.bins):
        for count, name in zip(both, ("in", "out"), strict=True):
            if count:
                height = 100 * count / top
                begin = day.local(day.begin + index * BIN)
                bars.append(
                    f'<rect class="bar-{name}" x="{index + 0.12:g}" y="{100 - height if name == "in" else 100:.2f}" '
                    f'width=".76" height="{height:.2f}"><title>{begin:%H:%M}: {_number(count)} {name}</title></rect>'
                )
    most = max(range(len(place.bins)), key=lambda index: sum(place.bins[index]))
    into, out = place.bins[most]
    label = (
        f"Bar chart of the traffic at {_name(place, day)} in each quarter of an hour. Most at "
        f"{day.local(day.begin + most * BIN):%H:%M}: {_number(into)} in, {_number(out)} out."
    )
    return _figure(
        "Each quarter of an hour: in above the line, out below it",
        _plot(day, label, 200, (0, 50, 150, 200), 100, "".join(bars), {0: _number(top), 50: "0", 100: _number(top)}),
    )


def _balance_chart(place: PlaceDay, day: Day) -> str:
    known = max(1, math.ceil((day.until - day.begin) / BIN))
    balances = (0, *place.balances[:known])
    low, high = min(balances), max(balances)
    if low == high:
        return ""
    span = high - low
    zero = 100 * high / span
    points = " ".join(f"{index},{100 * (high - balance) / span:.2f}" for index, balance in enumerate(balances))
    number = len(place.bins)
    areas = "".join(
        f'<clipPath id="{name}-{zero:.4f}"><rect x="0" y="{y:.2f}" width="{number}" height="{height:.2f}"/></clipPath>'
        f'<polygon class="{name}" clip-path="url(#{name}-{zero:.4f})" '
        f'points="0,{zero:.2f} {points} {len(balances) - 1},{zero:.2f}"/>'
        for name, y, height in (("above", 0, zero), ("below", zero, 100 - zero))
    )
    line = f'<polyline class="balance" points="{points}" vector-effect="non-scaling-stroke"/>'
    label = (
        f"Line chart of the balance at {_name(place, day)}: in less out since the beginning of the day, from "
        f"{_signed(low)} to {_signed(high)}, {_signed(balances[-1])} at the end."
    )
    scale = {zero: "0"}
    if zero > 20:
        scale[0] = _signed(high)
    if zero < 80:
        scale[100] = _signed(low)
    return _figure(
        "Balance: in less out since the beginning of the day",
        _plot(day, label, 100, (), zero, areas + line, scale, kind="low"),
    )


def _hours_table(place: PlaceDay, day: Day) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_hour(day, index)}</th><td>{_number(into)}</td><td>{_number(out)}</td>'
        f"<td>{_signed(into - out)}</td></tr>"
        for index, (into, out) in enumerate(place.hours)
        if into or out
    )
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Hour from", "In", "Out", "Balance"))
    return (
        f"<details><summary>Hour by hour</summary><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</details>\n"
    )


def _camera_section(day: Day) -> str:
    whole = day.until - day.begin
    rate = f" at {day.frames_per_s:.1f} frames per second" if day.frames_per_s else ""
    text = f"Frames came for {_duration(day.watched)} of {_duration(whole)}{rate}."
    items = "".join(f"<li>{_gap_text(gap, day)}</li>" for gap in day.gaps[:_MAX_GAPS])
    if len(day.gaps) > _MAX_GAPS:
        items += f"<li>and {len(day.gaps) - _MAX_GAPS} more times</li>"
    gaps = f'<ul class="gaps">{items}</ul>\n' if items else ""
    label = f"{text} {len(day.gaps)} times without frames."
    return (
        '<section aria-labelledby="camera">\n<h2 id="camera">Camera</h2>\n'
        f'<figure><figcaption>{text}</figcaption><div class="plot"><div></div>'
        f'<div class="area band" role="img" aria-label="{escape(label)}">{_shades(day)}</div>{_times(day)}</div>'
        f'</figure>\n{gaps}<p class="note">A balance is the difference of two counts, each of which is off by some '
        "percent: it is not the number of bees that were lost or gained. Nothing is counted while no frames come.</p>\n"
        "</section>\n"
    )


def _gap_text(gap: Gap, day: Day) -> str:
    begin, end = day.local(gap.begin), day.local(gap.end)
    until = "24:00" if gap.end == day.end else f"{end:%H:%M}"
    reason = f", {gap.reason}" if gap.reason else ""
    return f"<time>{begin:%H:%M}{_TO}{until}</time> <span>{_duration(gap.end - gap.begin)}{escape(reason)}</span>"


def _figure(caption: str, plot: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>\n"


def _plot(  # noqa: PLR0913, PLR0917 - parts of a chart
    day: Day,
    label: str,
    height: int,
    grid: Sequence[float],
    zero: float,
    shapes: str,
    scale: dict[float, str],
    *,
    kind: str = "high",
) -> str:
    """Return a chart over the day: SVG of `height` units, and labels of the scale by their position in percent."""
    width = math.ceil((day.end - day.begin) / BIN)
    lines = "".join(
        f'<line class="{name}" x1="0" x2="{width}" y1="{y:.2f}" y2="{y:.2f}" vector-effect="non-scaling-stroke"/>'
        for name, ys in (("grid", grid), ("zero", (zero,)))
        for y in ys
    )
    labels = "".join(f'<span style="top:{place:.2f}%">{text}</span>' for place, text in scale.items())
    return (
        f'<div class="plot"><div class="scale" aria-hidden="true">{labels}</div><div class="area {kind}">'
        f"{_shades(day)}"
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{lines}{shapes}</svg></div>{_times(day)}</div>"
    )


def _shades(day: Day) -> str:
    shades = "".join(
        f'<div class="gap" style="left:{_percent(day, gap.begin)};width:{_percent(day, gap.end, gap.begin)}"></div>'
        for gap in day.gaps
    )
    if day.until < day.end:
        shades += f'<div class="later" style="width:{_percent(day, day.end, day.until)}"></div>'
    return shades


def _times(day: Day) -> str:
    hours = round((day.end - day.begin) / _HOUR)
    labels = "".join(
        f'<span class="{"sparse" if index % (2 * _LABELLED_HOURS) else ""}" style="left:{100 * index / hours:.2f}%">'
        f"{'24' if index == hours else f'{day.local(day.begin + index * _HOUR):%H}'}</span>"
        for index in sorted({*range(0, hours, _LABELLED_HOURS), hours})
        if index == hours or hours - index >= _LABELLED_HOURS
    )
    return f'<div class="times" aria-hidden="true">{labels}</div>'


def _percent(day: Day, at: datetime, since: datetime | None = None) -> str:
    return f"{100 * (at - (since or day.begin)) / (day.end - day.begin):.3f}%"


def _name(place: PlaceDay, day: Day) -> str:
    several = any(other.place == place.place and other.label != place.label for other in day.places)
    return f"{place.place}, {place.label}" if several else place.place


def _hour(day: Day, index: int) -> str:
    at = day.begin + index * _HOUR
    return "24:00" if at == day.end else f"{day.local(at):%H:%M}"


def _number(count: int) -> str:
    return f"{count:,}"


def _signed(count: int) -> str:
    return f"+{count:,}" if count > 0 else f"{_MINUS}{-count:,}" if count < 0 else "0"


def _duration(length: timedelta) -> str:
    minutes = round(length / timedelta(minutes=1))
    hours, rest = divmod(minutes, 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{rest} min"] if rest or not parts else parts)


def _nice(most: int) -> int:
    """Round `most` up to a number with one digit other than 0, or two if the second is a 5."""
    most = max(1, most)
    step: int = max(1, 10 ** (len(str(most)) - 1) // 2)
    return -(-most // step) * step
