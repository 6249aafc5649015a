"""The report of a day's traffic."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from beeagent.tracking import Day, Interval, StatusChange, report_page, summarize
from beeagent.tracking.daily import bounds_of

BERLIN = ZoneInfo("Europe/Berlin")
MAY_4 = date(2026, 5, 4)
MIDNIGHT = datetime(2026, 5, 3, 22, tzinfo=timezone.utc)  # of May 4 in Berlin


def minutes(numbers: Iterable[int], *, into: int = 0, out: int = 0, place: str = "door") -> list[Interval]:
    """Return intervals of a minute each, by minutes since midnight in Berlin."""
    begins = (MIDNIGHT + timedelta(minutes=number) for number in numbers)
    counts = {(place, "bee", "in"): into, (place, "bee", "out"): out}
    return [Interval(begin, begin + timedelta(minutes=1), 600, counts, {}) for begin in begins]


def day_of_minutes(intervals: list[Interval], *statuses: StatusChange, now: datetime | None = None) -> Day:
    after = MIDNIGHT + timedelta(days=3) if now is None else now
    return summarize(intervals, MAY_4, statuses=statuses, now=after, time_zone=BERLIN)


def test_day_has_the_counts_of_its_quarters_and_hours() -> None:
    day = day_of_minutes(
        [*minutes(range(-30, 0), into=9), *minutes(range(540, 600), into=2, out=1), *minutes([1439], out=4)]
    )
    (door,) = day.places
    assert (door.place, door.label, len(door.bins)) == ("door", "bee", 96)
    assert (door.into, door.out) == (120, 64)
    assert door.bins[36:40] == ((30, 15),) * 4
    assert door.bins[95] == (0, 4)
    assert door.hours[9] == (120, 60)
    assert door.busiest_hours(3) == [9, 23]
    assert door.balances[35:41] == (0, 15, 30, 45, 60, 60)
    assert door.balances[-1] == 56


def test_gaps_have_the_reason_that_the_device_reported() -> None:
    day = day_of_minutes(
        minutes([*range(300, 600), *range(603, 700), *range(701, 1260)]),
        StatusChange(MIDNIGHT + timedelta(minutes=599.5), "degraded", ("camera: no frame for 10 s", "and more")),
        StatusChange(MIDNIGHT + timedelta(minutes=604), "online"),
        StatusChange(MIDNIGHT + timedelta(minutes=1260), "offline", ("stopped",)),
    )
    found = [((gap.begin - MIDNIGHT) / timedelta(minutes=1), gap.end - gap.begin, gap.reason) for gap in day.gaps]
    assert found == [
        (0, timedelta(minutes=300), ""),
        (600, timedelta(minutes=3), "degraded: camera: no frame for 10 s"),
        (1260, timedelta(minutes=180), "offline: stopped"),
    ]
    assert day.watched == timedelta(minutes=960 - 3)
    assert day.frames_per_s == pytest.approx(10)


def test_future_is_no_gap() -> None:
    now = MIDNIGHT + timedelta(minutes=601)
    day = day_of_minutes(minutes(range(600)), now=now)
    assert day.gaps == ()
    assert day.until == now
    assert day_of_minutes(minutes(range(600)), now=now + timedelta(hours=1)).gaps[0].end == now + timedelta(hours=1)


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_days_on_which_the_clocks_change(day: date, hours: int) -> None:
    begin, end = bounds_of(day, BERLIN)
    assert end - begin == timedelta(hours=hours)
    last = Interval(end - timedelta(minutes=1), end, 600, {("door", "bee", "in"): 5}, {})
    summary = summarize([last], day, now=end, time_zone=BERLIN)
    assert len(summary.places[0].hours) == hours
    assert summary.places[0].hours[-1] == (5, 0)
    assert "<td>5</td>" in report_page(summary, camera="hive")
    assert '<th scope="row">23:00</th>' in report_page(summary, camera="hive")


class _Elements(HTMLParser):
    """Collects elements, and checks that each is closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_self_contained_and_describes_its_charts() -> None:
    day = day_of_minutes(
        [*minutes(range(300, 600), into=40, out=44), *minutes(range(300, 600), into=2, place="ramp & <b>board</b>")],
        StatusChange(MIDNIGHT + timedelta(minutes=600), "offline", ("<script>alert(1)</script>",)),
    )
    text = report_page(day, camera="hive-7, camera <front>")
    page = _Elements(text)
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "b"}
    assert not any({"src", "href"} & attributes.keys() for _, attributes in page.seen)
    assert "url(http" not in text
    assert "@import" not in text
    charts = [attributes["aria-label"] or "" for _, attributes in page.seen if attributes.get("role") == "img"]
    assert charts[0].startswith("Bar chart of the traffic at door in each quarter of an hour. Most at 05:00: 600 in")
    assert "from \N{MINUS SIGN}1,200 to 0, \N{MINUS SIGN}1,200 at the end" in charts[1]
    assert "ramp & <b>board</b>" in charts[2]
    for part in (
        "Monday, 4 May 2026", "hive-7, camera <front>", "12,000 came in and 13,200 went out at door",
        "offline: <script>alert(1)</script>", "Frames came for 5 h of 24 h at 10.0 frames per second.",
        "00:00\N{EN DASH}05:00", "10:00\N{EN DASH}24:00",
    ):  # fmt: skip
        assert part in page.text
    assert dict(page.seen)["html"] == {"lang": "en"}
    assert dict(page.seen)["svg"]["viewbox"] == "0 0 96 100"


def test_page_of_a_day_without_traffic() -> None:
    page = _Elements(report_page(day_of_minutes(minutes(range(300, 600))), camera="hive"))
    assert "0 came in and 0 went out." in page.text
    assert "no traffic" in page.text
    assert "Nothing was counted on this day." in report_page(day_of_minutes([]), camera="hive")
