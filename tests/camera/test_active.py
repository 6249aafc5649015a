"""The times of `--active`: by clock and sun, over midnight, and with midnight sun."""

from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from beeagent.camera.active import ActiveTimes, DayTime, parse_active
from beeagent.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st

BERNE, TROMS = (46.95, 7.45), (69.1044, 18.0594)
ZURICH = ZoneInfo("Europe/Zurich")


def _clock(text: str) -> DayTime:
    hours, minutes = map(int, text.split(":"))
    return DayTime("clock", timedelta(hours=hours, minutes=minutes))


def _sunrise(minutes: int = 0) -> DayTime:
    return DayTime("sunrise", timedelta(minutes=minutes))


def _sunset(minutes: int = 0) -> DayTime:
    return DayTime("sunset", timedelta(minutes=minutes))


def _times(begin: DayTime, end: DayTime, place: tuple[float, float] = BERNE) -> ActiveTimes:
    return ActiveTimes(begin, end, latitude=place[0], longitude=place[1], time_zone=ZURICH)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZURICH)


def _state(times: ActiveTimes, now: str) -> tuple[bool, str | None]:
    span = times.at(_at(now))
    return span.active, None if span.until is None else f"{span.until.astimezone(ZURICH):%Y-%m-%d %H:%M}"


def test_clock_times() -> None:
    times = _times(_clock("06:00"), _clock("20:30"))
    assert _state(times, "2026-05-04 05:59") == (False, "2026-05-04 06:00")
    assert _state(times, "2026-05-04 06:00") == (True, "2026-05-04 20:30")
    assert _state(times, "2026-05-04 20:29") == (True, "2026-05-04 20:30")
    assert _state(times, "2026-05-04 20:30") == (False, "2026-05-05 06:00")


def test_clock_times_over_midnight() -> None:
    times = _times(_clock("20:30"), _clock("06:00"))
    assert _state(times, "2026-05-04 20:29") == (False, "2026-05-04 20:30")
    assert _state(times, "2026-05-04 23:00") == (True, "2026-05-05 06:00")
    assert _state(times, "2026-05-05 05:59") == (True, "2026-05-05 06:00")


def test_clock_times_follow_daylight_saving_time() -> None:
    times = _times(_clock("02:30"), _clock("06:00"))
    assert _state(times, "2026-03-28 07:00") == (False, "2026-03-29 03:30")  # 02:30 does not exist on that day
    assert _state(times, "2026-03-29 07:00") == (False, "2026-03-30 02:30")
    assert times.at(_at("2026-03-28 05:00")).until == datetime(2026, 3, 28, 5, tzinfo=timezone.utc)
    assert times.at(_at("2026-03-29 05:00")).until == datetime(2026, 3, 29, 4, tzinfo=timezone.utc)


def test_sun_with_offsets() -> None:
    times = _times(_sunrise(-30), _sunset(30))
    assert _state(times, "2026-06-21 04:00") == (False, "2026-06-21 05:05")  # sunrise at 05:35
    assert _state(times, "2026-06-21 12:00") == (True, "2026-06-21 21:58")  # sunset at 21:28
    assert _state(times, "2026-12-21 12:00") == (True, "2026-12-21 17:13")
    assert _state(times, "2026-12-21 18:00") == (False, "2026-12-22 07:43")


def test_night_from_sunset_to_sunrise() -> None:
    times = _times(_sunset(), _sunrise())
    assert _state(times, "2026-06-21 12:00") == (False, "2026-06-21 21:28")
    assert _state(times, "2026-06-21 23:59") == (True, "2026-06-22 05:35")


def test_mixture_of_clock_and_sun() -> None:
    times = _times(_clock("06:00"), _sunset())
    assert _state(times, "2026-06-21 05:45") == (False, "2026-06-21 06:00")
    assert _state(times, "2026-06-21 12:00") == (True, "2026-06-21 21:28")
    over_midnight = _times(_clock("22:00"), _sunrise())
    assert _state(over_midnight, "2026-06-21 22:00") == (True, "2026-06-22 05:35")
    assert _state(over_midnight, "2026-06-22 12:00") == (False, "2026-06-22 22:00")


def test_day_on_which_the_end_comes_first_has_no_active_time() -> None:
    until_sunrise = _times(_clock("05:50"), _sunrise())
    assert _state(until_sunrise, "2026-12-21 06:00") == (True, "2026-12-21 08:12")
    assert _state(until_sunrise, "2026-06-21 05:55") == (False, "2026-07-15 05:50")  # the next sunrise after 05:50
    assert _state(_times(_sunrise(270), _sunset(-270)), "2026-12-21 12:30")[0] is False  # the day has 8 h 29 min


def test_midnight_sun_is_one_active_time() -> None:
    times = _times(_sunrise(30), _sunset(-30), TROMS)
    moments = [_at("2010-06-01 00:00") + timedelta(minutes=97 * step) for step in range(450)]
    assert all(times.at(moment).active for moment in moments)
    assert not any(_times(_sunset(), _sunrise(), TROMS).at(moment).active for moment in moments[::30])


def test_polar_night_is_one_sleep() -> None:
    times = _times(_sunrise(-30), _sunset(30), TROMS)
    assert _state(times, "2009-12-20 12:00") == (False, "2010-01-12 11:01")
    assert times.at(_at("2010-01-12 11:30")).active
    assert _times(_sunset(), _sunrise(), TROMS).at(_at("2009-12-20 11:45")).active


def test_time_zone_on_the_other_side_of_the_date_line() -> None:
    tonga = ZoneInfo("Pacific/Tongatapu")  # 175 degrees west, and 13 hours before Greenwich
    times = ActiveTimes(_clock("06:30"), _sunset(), latitude=-21.1, longitude=-175.2, time_zone=tonga)
    span = times.at(datetime(2026, 6, 21, 12, tzinfo=tonga))
    assert span.active
    assert span.until is not None
    assert span.until.astimezone(tonga).date() == date(2026, 6, 21)
    assert span.until.astimezone(tonga).hour == 18


day_times = st.one_of(
    st.builds(DayTime, st.just("clock"), st.integers(0, 1440).map(lambda minutes: timedelta(minutes=minutes))),
    st.builds(
        DayTime,
        st.sampled_from(("sunrise", "sunset")),
        st.integers(-720, 720).map(lambda minutes: timedelta(minutes=minutes)),
    ),
)


@settings(max_examples=30)
@given(
    day_times,
    day_times,
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(timezone.utc)),  # noqa: DTZ001
)
def test_state_holds_until_its_end(
    begin: DayTime, end: DayTime, latitude: float, longitude: float, now: datetime
) -> None:
    times = ActiveTimes(begin, end, latitude=latitude, longitude=longitude, time_zone=ZURICH)
    span = times.at(now)
    if span.until is None:
        assert not span.active
        return
    assert span.until > now
    for share in (0.0, 0.5, 0.999):
        assert times.at(now + share * (span.until - now)).active is span.active
    if not span.active:
        assert times.at(span.until).active


@pytest.mark.parametrize(
    ("text", "now", "active"),
    [
        ("06:00..20:30", time(12), True),
        ("6:00 .. 20:30", time(5), False),
        ("00:00..24:00", time(23, 59), True),
        ("20:30..06:00", time(23), True),
        ("Sunrise-30m..Sunset+30m", time(12), True),
        ("sunrise+1h30m..sunset-2h", time(3), False),
        ("sunset..23:00", time(12), False),
    ],
)
def test_parsed_times(text: str, now: time, *, active: bool) -> None:
    parsed = parse_active(text, latitude=0.0, longitude=0.0)
    assert isinstance(parsed, ActiveTimes)
    local = datetime.combine(date(2026, 5, 4), now).astimezone()
    if "sun" in text:
        local = datetime.combine(date(2026, 5, 4), now, timezone.utc)
    assert parsed.at(local).active is active


@pytest.mark.parametrize(("text", "level"), [("brightness", 20), ("brightness > 7", 7), ("brightness>12.5", 12.5)])
def test_parsed_brightness(text: str, level: float) -> None:
    assert parse_active(text, latitude=None, longitude=None) == level


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "give two times"),
        ("always", "give two times"),
        ("06:00-20:30", "give two times"),
        ("06:00..", "give two times"),
        ("sunrise+..sunset", "give two times"),
        ("sunrise-30..sunset", "give two times"),
        ("noon..sunset", "give two times"),
        ("06:60..20:30", "06:60 is not a time of day"),
        ("06:00..24:01", "24:01 is not a time of day"),
        ("sunrise-13h..sunset", "at most 12h before or after sunrise"),
        ("06:00..06:00", "its times are equal"),
        ("brightness>300", "below 255"),
        ("brightness<20", "give two times"),
    ],
)
def test_invalid_times_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        parse_active(text, latitude=0.0, longitude=0.0)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(("latitude", "longitude"), [(None, None), (46.9, None), (None, 7.4)])
def test_sun_without_a_place_is_refused(latitude: float | None, longitude: float | None) -> None:
    with pytest.raises(InputError, match="latitude and longitude are not both set"):
        parse_active("06:00..sunset", latitude=latitude, longitude=longitude)
    assert isinstance(parse_active("06:00..20:00", latitude=latitude, longitude=longitude), ActiveTimes)
