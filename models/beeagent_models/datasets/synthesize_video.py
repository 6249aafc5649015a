"""Synthesizes a video of a busy hive entrance with ground truth of tracks and crossings."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from beeagent.camera.synthetic.address import MAX_SIDE, SceneOptions
from beeagent.camera.synthetic.behaviour import Ground
from beeagent.camera.synthetic.scene import Scene
from beeagent.errors import InputError

from beeagent_models.synthetic.boxes import render_each
from beeagent_models.synthetic.traffic import Traffic, VisitingBee
from beeagent_models.tracks import (
    Crossing,
    Crossings,
    Line,
    Tracks,
    Zone,
    find_crossings,
    find_zone_passages,
    write_crossings,
    write_mot,
    write_places,
    write_tracks,
)
from beeagent_models.tracks.crossings import MARGIN

LABEL = "bee"
DEFAULT_LINE = "entrance"
ZONE = "slot"

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MIN_WIDTH, _MIN_HEIGHT = 240, 160
_MAX_SECONDS = 1800
_MAX_RATE = 240
_MAX_BEES = 60
_MIN_LENGTH = 14
"""Minimum body length in pixels; smaller bees would often have no box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """Options of a synthetic video.

    Attributes:
        seconds: length of the video, 1 to 1800.
        rate: frames per second, 1 to 240.
        width: frame width in pixels, even, 240 to 8192.
        height: frame height in pixels, even, 160 to 8192.
        seed: random seed, 0 or more; it determines the bees at any frame rate.
        bees: maximum number of bees at the same time, 1 to 60.
        line: counting line; None for one in front of the entrance slot, where `in` is into the hive.

    Raises:
        InputError: a value is out of range.
    """

    seconds: float = 20.0
    rate: float = 30.0
    width: int = 1280
    height: int = 720
    seed: int = 0
    bees: int = 12
    line: Line | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= _MAX_SECONDS:
            raise InputError(f"seconds is {self.seconds:g}: allowed are 1 to {_MAX_SECONDS}")
        if not 1 <= self.rate <= _MAX_RATE:
            raise InputError(f"rate is {self.rate:g}: allowed are 1 to {_MAX_RATE} frames/s")
        if not (_MIN_WIDTH <= self.width <= MAX_SIDE and _MIN_HEIGHT <= self.height <= MAX_SIDE):
            raise InputError(
                f"size is {self.width}x{self.height}: allowed are {_MIN_WIDTH}x{_MIN_HEIGHT} to {MAX_SIDE}x{MAX_SIDE} "
                "pixels for a video"
            )
        if self.width % 2 or self.height % 2:
            raise InputError(f"size is {self.width}x{self.height}: give even numbers for a video")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}: give 0 or more")
        if not 1 <= self.bees <= _MAX_BEES:
            raise InputError(f"bees is {self.bees}: allowed are 1 to {_MAX_BEES}")

    @property
    def frames(self) -> int:
        """Number of frames of the video."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizedVideo:
    """A synthetic video with its ground truth.

    Attributes:
        video: the video file.
        tracks_file: JSON Lines of the schema beeagent.tracks/1.
        crossings_file: JSON Lines of the schema beeagent.crossings/1.
        places_file: places.toml with the line and the zone.
        mot_file: `gt.txt` in a folder in MOT challenge format.
        tracks: tracks of the visible bees.
        crossings: crossings of the line, and passages of the zone around the slot.
    """

    video: Path
    tracks_file: Path
    crossings_file: Path
    places_file: Path
    mot_file: Path
    tracks: Tracks
    crossings: Crossings


def synthesize_video(
    path: Path, options: VideoOptions, *, progress: Callable[[], None] | None = None
) -> SynthesizedVideo:
    """Draw a video of a busy hive entrance and write its ground truth beside it.

    For `hive.mp4`, the ground truth is `hive.tracks.jsonl`, `hive.crossings.jsonl`, `hive.places.toml`, and `hive/`
    with `gt/gt.txt` and `seqinfo.ini`. A bee has a box in frames in which at least 25 % of it is visible, and has the
    same number in all frames. Crossings are those of the body's centre on its planned path, by the rule of
    `find_crossings`.

    Args:
        path: video file to write, .mp4 or .avi; a missing folder is created.
        options: options of the video.
        progress: called after each frame.

    Raises:
        InputError: the suffix is not supported, a file exists already, or the files cannot be written.
    """
    if path.suffix.lower() not in _CODECS:
        raise InputError(f"the video {path} must end in {', '.join(_CODECS)}")
    ends = ("tracks.jsonl", "crossings.jsonl", "places.toml")
    names = (path.name, *(f"{path.stem}.{end}" for end in ends), path.stem)
    for name in names:
        if (path.parent / name).exists():
            raise InputError(f"{path.parent / name} exists: give another name, or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem[:100]}.") as temporary:
            folder = Path(temporary)
            tracks, crossings = _draw(folder / path.name, options, progress)
            write_tracks(folder / names[1], tracks)
            write_crossings(folder / names[2], crossings)
            write_places(folder / names[3], crossings.lines, crossings.zones)
            write_mot(folder / path.stem, tracks)
            for name in names:
                shutil.move(folder / name, path.parent / name)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    return SynthesizedVideo(
        video=path,
        tracks_file=path.parent / names[1],
        crossings_file=path.parent / names[2],
        places_file=path.parent / names[3],
        mot_file=path.parent / path.stem / "gt" / "gt.txt",
        tracks=tracks,
        crossings=crossings,
    )


def _draw(path: Path, options: VideoOptions, progress: Callable[[], None] | None) -> tuple[Tracks, Crossings]:
    """Write the video and return its tracks and crossings."""
    size = (options.width, options.height)
    shortest = max(0.03, _MIN_LENGTH / max(size))
    longest = max(shortest, min(0.045, 0.08 * options.height / max(size)))
    scene_options = SceneOptions(
        width=options.width,
        height=options.height,
        fps=options.rate,
        seed=options.seed,
        bee_length=(shortest, longest),
    )
    created: list[Traffic] = []

    def traffic(rng: np.random.Generator, ground: Ground, lengths: tuple[float, ...]) -> Traffic:
        # From the first frame to the last.
        seconds = (options.frames - 1) / options.rate
        created.append(Traffic(rng, ground, lengths, bees=options.bees, seconds=seconds))
        return created[0]

    scene = Scene(scene_options, bees_in_motion=traffic)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()]), options.rate, size)
    if not writer.isOpened():
        raise InputError(f"{path.name} cannot be written: OpenCV has no encoder for it here")
    rows = []
    try:
        for frame in range(1, options.frames + 1):
            if frame > 1:
                scene.advance()
            image, visible = render_each(scene)
            writer.write(image)
            rows += [(frame, bee.visit, *box) for bee, box in visible if isinstance(bee, VisitingBee)]
            if progress is not None:
                progress()
    finally:
        writer.release()
    _refuse_incomplete(path, options.frames)
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 6)
    boxes = table[:, 2:]
    boxes[:, 2:] -= boxes[:, :2]
    tracks = Tracks(
        frame=table[:, 0].astype(np.int64),
        track=table[:, 1].astype(np.int64),
        label=(LABEL,) * len(table),
        boxes=boxes,
        size=size,
        rate=options.rate,
        frames=options.frames,
    )
    line = options.line
    if line is None:
        # From the right to the left end: the hive is on the right-hand side, so crossing into it is `in`.
        y = created[0].line_y / options.height
        line = Line(name=DEFAULT_LINE, start=(1.0, y), end=(0.0, y))
    zone = _slot_zone(created[0], options)
    passages = find_zone_passages(tracks, [zone], size=size, rate=options.rate)
    crossings = sorted(
        [*_crossings(created[0], line, options), *passages], key=lambda crossing: (crossing.frame, crossing.track)
    )
    return tracks, Crossings(
        lines=(line,), crossings=tuple(crossings), size=size, rate=options.rate, frames=options.frames, zones=(zone,)
    )


def _slot_zone(traffic: Traffic, options: VideoOptions) -> Zone:
    """Return the zone around the slot, where bees appear and disappear, down to half the distance to the line."""
    left, top, right, slot_bottom = traffic.slot
    bottom = (slot_bottom + traffic.line_y) / 2
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    ratios = tuple((min(1.0, max(0.0, x / options.width)), y / options.height) for x, y in corners)
    return Zone(name=ZONE, points=ratios)


def _crossings(traffic: Traffic, line: Line, options: VideoOptions) -> list[Crossing]:
    size = np.array((options.width, options.height))
    (x1, y1), (x2, y2) = line.start * size, line.end * size
    found = []
    for visit in traffic.visits:
        margins = np.full(len(visit.points), MARGIN * visit.length)
        for index, direction in find_crossings(visit.points, margins, start=(x1, y1), end=(x2, y2)):
            seconds = float(np.interp(index, np.arange(len(visit.times)), visit.times))
            # A crossing just before a frame is seen in that frame.
            frame = int(np.ceil(seconds * options.rate - 1e-9)) + 1
            found.append(
                Crossing(
                    line=line.name,
                    direction=direction,
                    frame=frame,
                    position_s=seconds,
                    track=visit.number,
                    label=LABEL,
                )
            )
    return sorted(found, key=lambda one: (one.frame, one.track))


def _refuse_incomplete(path: Path, frames: int) -> None:
    """Refuse a truncated video: OpenCV does not report a full disk."""
    video = cv2.VideoCapture(str(path))
    written = round(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    video.release()
    if written != frames:
        raise InputError(f"{path.name} has {written} frames instead of {frames}: free disk space")
