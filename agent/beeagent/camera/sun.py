"""Sunrise and sunset, by the equations of NOAA's solar calculator.

The equations are from Jean Meeus, Astronomical Algorithms, and accurate to a minute up to 72 degrees of latitude:
https://gml.noaa.gov/grad/solcalc/calcdetails.html
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import acos, asin, cos, degrees, floor, radians, sin, tan
from typing import Final

_J2000: Final = datetime(2000, 1, 1, 12, tzinfo=timezone.utc)
_DAY: Final = timedelta(days=1)
_ZENITH: Final = radians(90.833)  # of the sun's centre when its upper edge appears on the horizon
_ITERATIONS: Final = 5  # the sun's position changes during the day; near a pole, all are needed for a minute


@dataclass(frozen=True, slots=True)
class SunEvent:
    """A sunrise or a sunset.

    Attributes:
        at: the time, UTC. On a day without the event: solar midnight if the sun stays up, solar noon if it stays down.
        occurs: True if the sun crosses the horizon at this time.
    """

    at: datetime
    occurs: bool


def sunrise_and_sunset(near: datetime, *, latitude: float, longitude: float) -> tuple[SunEvent, SunEvent]:
    """Return the sunrise before and the sunset after the solar noon nearest to a time.

    If the sun stays up, the sunset of a day and the sunrise of the next are both the solar midnight between them.

    Args:
        near: the time, with a time zone.
        latitude: degrees, north positive, -90 to 90.
        longitude: degrees, east positive, -180 to 180.
    """
    # Not round(), which skips every other day where two solar noons are equally near, at 180 degrees.
    number = floor((near - _J2000) / _DAY + longitude / 360 + 0.5)
    noons = [_solar_noon(number + shift, longitude) for shift in (-1, 0, 1)]
    rise, setting = (_event(noons[1], latitude, sign, midnight=_between(noons, sign)) for sign in (-1, 1))
    return rise, setting


def _event(noon: datetime, latitude: float, sign: int, *, midnight: datetime) -> SunEvent:
    """Return the sunrise (-1) or sunset (1) of the day of a solar noon."""
    at, cosine = noon, 0.0
    mean_noon = noon + timedelta(minutes=_position(noon)[1])
    for _ in range(_ITERATIONS):
        declination, equation_of_time = _position(at)
        height = sin(radians(latitude)) * sin(declination)
        cosine = (cos(_ZENITH) - height) / (max(cos(radians(latitude)), 1e-9) * cos(declination))
        angle = degrees(acos(min(1.0, max(-1.0, cosine))))
        at = mean_noon + timedelta(minutes=4 * sign * angle - equation_of_time)
    if cosine <= -1:
        return SunEvent(midnight, occurs=False)
    return SunEvent(noon if cosine >= 1 else at, occurs=cosine < 1)


def _between(noons: list[datetime], sign: int) -> datetime:
    """Return the solar midnight before (-1) or after (1) the second of three solar noons."""
    first, second = (noons[0], noons[1]) if sign < 0 else (noons[1], noons[2])
    return first + (second - first) / 2


def _solar_noon(number: int, longitude: float) -> datetime:
    """Return the time of the solar noon of a day, counted from 2000-01-01."""
    mean_noon = _J2000 + (number - longitude / 360) * _DAY
    return mean_noon - timedelta(minutes=_position(mean_noon)[1])


def _position(at: datetime) -> tuple[float, float]:
    """Return the declination of the sun in radians, and the equation of time in minutes."""
    century = (at - _J2000) / _DAY / 36525
    mean_longitude = radians(280.46646 + century * (36000.76983 + 0.0003032 * century))
    anomaly = radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = radians(
        sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + sin(3 * anomaly) * 0.000289
    )
    node = radians(125.04 - 1934.136 * century)
    longitude = mean_longitude + centre - radians(0.00569 + 0.00478 * sin(node))
    arcseconds = 21.448 - century * (46.815 + century * (0.00059 - 0.001813 * century))
    obliquity = radians(23 + (26 + arcseconds / 60) / 60 + 0.00256 * cos(node))
    declination = asin(sin(obliquity) * sin(longitude))
    y = tan(obliquity / 2) ** 2
    equation_of_time = 4 * degrees(
        y * sin(2 * mean_longitude)
        - 2 * eccentricity * sin(anomaly)
        + 4 * eccentricity * y * sin(anomaly) * cos(2 * mean_longitude)
        - 0.5 * y**2 * sin(4 * mean_longitude)
        - 1.25 * eccentricity**2 * sin(2 * anomaly)
    )
    return declination, equation_of_time
