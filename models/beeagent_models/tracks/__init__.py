"""Tracks of a video and crossings of lines and zones, with their file formats."""

from beeagent_models.tracks.crossings import (
    Crossing,
    Crossings,
    Direction,
    Line,
    Zone,
    find_crossings,
    find_track_crossings,
    find_zone_passages,
    parse_line,
    read_counts,
    read_crossings,
    write_crossings,
    write_places,
)
from beeagent_models.tracks.tracks import Tracks, read_tracks, write_mot, write_tracks

__all__ = [
    "Crossing",
    "Crossings",
    "Direction",
    "Line",
    "Tracks",
    "Zone",
    "find_crossings",
    "find_track_crossings",
    "find_zone_passages",
    "parse_line",
    "read_counts",
    "read_crossings",
    "read_tracks",
    "write_crossings",
    "write_mot",
    "write_places",
    "write_tracks",
]
