"""Sunrise and sunset against published tables, and during polar day and night."""

from datetime import date, datetime, time, timedelta, timezone

import pytest
from beeagent.camera.sun import SunEvent, sunrise_and_sunset
from hypothesis import example, given
from hypothesis import strategies as st

TOLERANCE = timedelta(minutes=2)
BLUFFTON = (40.8939, -83.8917)
BIRMINGHAM = (33 + 31.8 / 60, -86 - 48.6 / 60)
LONDON = (51.50853, -0.12574)
JAKARTA = (-6.21138888888889, 106.845277777778)
WELLINGTON = (-41.2888, 174.7772)
TROMS = (69.1044, 18.0594)

TABLE = [
    # U.S. Naval Observatory
    (BLUFFTON, 0, "2018-09-12", "11:13", "23:50"),
    (BIRMINGHAM, -6, "2013-11-17", "06:21", "16:43"),
    (BIRMINGHAM, -6, "2013-11-21", "06:25", "16:42"),
    # timeanddate.com
    (LONDON, 0, "2015-01-01", "08:06", "16:01"),
    (LONDON, 0, "2015-12-12", "07:56", "15:51"),
    (LONDON, 0, "2015-12-25", "08:05", "15:55"),
    (WELLINGTON, 13, "2020-02-11", "06:39", "20:31"),
    # Accurate Times, the calculator of the Jordanian Astronomical Society
    (JAKARTA, 7, "2010-01-01", "05:41", "18:10"),
    (JAKARTA, 7, "2010-03-21", "05:57", "18:03"),
    (JAKARTA, 7, "2010-06-21", "06:01", "17:47"),
    (JAKARTA, 7, "2010-09-23", "05:42", "17:48"),
    (TROMS, 1, "2010-01-12", "11:32", "12:21"),
    (TROMS, 1, "2010-02-01", "09:20", "14:44"),
    (TROMS, 1, "2010-03-21", "05:44", "18:08"),
    (TROMS, 1, "2010-05-19", "00:30", "23:13"),
    (TROMS, 1, "2010-07-24", "00:21", "23:11"),
    (TROMS, 1, "2010-11-01", "08:08", "14:53"),
]

days = st.dates(date(1990, 1, 1), date(2080, 12, 31))
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)


def _events(day: date, latitude: float, longitude: float, zone: timezone = timezone.utc) -> tuple[SunEvent, SunEvent]:
    return sunrise_and_sunset(datetime.combine(day, time(12), zone), latitude=latitude, longitude=longitude)


@pytest.mark.parametrize(("place", "hours", "day", "sunrise", "sunset"), TABLE)
def test_published_times_within_two_minutes(
    place: tuple[float, float], hours: int, day: str, sunrise: str, sunset: str
) -> None:
    zone = timezone(timedelta(hours=hours))
    for event, published in zip(_events(date.fromisoformat(day), *place, zone), (sunrise, sunset), strict=True):
        assert event.occurs
        assert abs(event.at - datetime.fromisoformat(f"{day}T{published}").replace(tzinfo=zone)) <= TOLERANCE


def test_midnight_sun_begins_and_ends_on_the_published_days() -> None:
    up = [day for day in range(130, 220) if not _events(_day_of_2010(day), *TROMS)[1].occurs]
    assert [_day_of_2010(up[0]), _day_of_2010(up[-1])] == [date(2010, 5, 20), date(2010, 7, 22)]
    assert up == list(range(up[0], up[-1] + 1))


def test_polar_night_ends_on_the_published_day() -> None:
    assert [_events(date(2010, 1, day), *TROMS)[0].occurs for day in (1, 11, 12)] == [False, False, True]


def test_sunset_of_a_day_of_midnight_sun_is_the_sunrise_of_the_next() -> None:
    assert _events(date(2010, 6, 21), *TROMS)[1] == _events(date(2010, 6, 22), *TROMS)[0]


def test_sunrise_of_a_day_of_polar_night_is_its_sunset() -> None:
    sunrise, sunset = _events(date(2010, 12, 21), *TROMS)
    assert sunrise == sunset
    assert abs(sunrise.at - datetime(2010, 12, 21, 10, 46, tzinfo=timezone.utc)) < timedelta(minutes=2)  # solar noon


@given(days, latitudes, longitudes)
@example(date(2000, 1, 2), 0.0, 180.0)  # two solar noons are equally near
def test_days_follow_each_other(day: date, latitude: float, longitude: float) -> None:
    rise, setting = _events(day, latitude, longitude)
    next_rise, _ = _events(day + timedelta(days=1), latitude, longitude)
    assert timedelta(0) <= setting.at - rise.at <= timedelta(hours=24, minutes=1)
    assert rise.at <= setting.at <= next_rise.at + timedelta(minutes=2)


@given(days, longitudes)
def test_days_at_the_equator_last_twelve_hours(day: date, longitude: float) -> None:
    rise, setting = _events(day, 0.0, longitude)
    assert timedelta(hours=12, minutes=5) < setting.at - rise.at < timedelta(hours=12, minutes=9)


@given(days, st.floats(-60, 60), st.floats(-179, 179))
def test_sun_rises_four_minutes_later_a_degree_to_the_west(day: date, latitude: float, longitude: float) -> None:
    near = datetime.combine(day, time(12), timezone.utc) - timedelta(hours=longitude / 15)
    here, west = (sunrise_and_sunset(near, latitude=latitude, longitude=longitude - shift)[0].at for shift in (0, 1))
    assert abs(west - here - timedelta(minutes=4)) < timedelta(seconds=15)


@given(days, st.floats(-60, 60), longitudes)
def test_the_event_is_of_the_noon_nearest_to_the_time(day: date, latitude: float, longitude: float) -> None:
    near = datetime.combine(day, time(12), timezone.utc)
    rise, setting = sunrise_and_sunset(near, latitude=latitude, longitude=longitude)
    assert abs(rise.at + (setting.at - rise.at) / 2 - near) < timedelta(hours=12, minutes=20)


def _day_of_2010(number: int) -> date:
    return date(2010, 1, 1) + timedelta(days=number - 1)
