"""The newest frame for the viewers of the page: kept only while there are any, and encoded once for all of them."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera import Frame
from beeagent.detection import Detections
from beeagent.messages import detections_json, rfc3339

_VIEWED_S: Final = 10.0
_MIN_INTERVAL_S: Final = 0.2
_MAX_SIDE: Final = 960
_QUALITY: Final = 75
_RECENT_FRAMES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFrame:
    """A frame and its detections.

    Attributes:
        id: number of the frame, unique within the process.
        frame: the frame.
        detections: detections above the threshold.
        candidates: `detections` followed by the detections below the threshold.
        tracks: track number of each detection, 0 for none; None without tracking.
        inference_ms: inference time in milliseconds.
    """

    id: int
    frame: Frame
    detections: Detections
    candidates: Detections
    tracks: Sequence[int] | None
    inference_ms: float


class LiveView:
    """Passes the newest frame from the pipeline to the viewers.

    Without viewers, which is 10 seconds after the last request, no frame is kept: the pipeline's thread only adds its
    detections to those of the last frames. It never waits for a viewer and never encodes: the thread of the first
    request for a frame encodes it, 5 times a second at most, and all other requests get the same bytes.

    `add` is for one thread, the rest for any.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._viewed_until = 0.0
        self._next_id = 1
        self._newest: LiveFrame | None = None
        self._encoded: tuple[int, bytes] | None = None
        self._encoding = False
        self._encoded_at = 0.0  # start of the last encoding
        self._closed = False
        self._recent: deque[tuple[Detections, tuple[int, int]]] = deque(maxlen=_RECENT_FRAMES)

    def add(
        self,
        frame: Frame,
        *,
        detections: Detections,
        candidates: Detections | None,
        tracks: Sequence[int] | None,
        inference_ms: float,
    ) -> None:
        """Add the next frame; for the arguments see `LiveFrame`."""
        candidates = detections if candidates is None else candidates
        self._recent.append((candidates, frame.size))
        if time.monotonic() >= self._viewed_until:
            return
        with self._changed:
            self._newest = LiveFrame(
                id=self._next_id,
                frame=frame,
                detections=detections,
                candidates=candidates,
                tracks=tracks,
                inference_ms=inference_ms,
            )
            self._next_id += 1
            self._changed.notify_all()

    @property
    def recent(self) -> list[tuple[Detections, tuple[int, int]]]:
        """Candidates and frame size of the last 200 frames."""
        return list(self._recent)

    def forget(self) -> None:
        """Forget the candidates of the last frames."""
        self._recent.clear()

    def newest(self) -> LiveFrame | None:
        """Return the newest frame, None if there is none since the first viewer; the caller counts as a viewer."""
        with self._changed:
            self._keep_viewed()
            return self._newest

    def wait(self, *, after: int | None, timeout: float) -> bytes | None:
        """Wait for a frame that the viewer does not have yet, and return it as JSON (see the page's API).

        Args:
            after: ID of the last frame of the viewer; None for none.
            timeout: maximum wait in seconds.

        Returns:
            The JSON, or None after the timeout.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._keep_viewed()
            while True:
                now, newest, encoded = time.monotonic(), self._newest, self._encoded
                if self._closed or now >= deadline:
                    return None
                until = deadline
                if newest is not None and (encoded is None or encoded[0] != newest.id) and not self._encoding:
                    if now >= self._encoded_at + _MIN_INTERVAL_S:
                        self._encoding, self._encoded_at = True, now
                        break
                    until = min(deadline, self._encoded_at + _MIN_INTERVAL_S)
                if encoded is not None and encoded[0] != after:
                    return encoded[1]
                self._changed.wait(until - now)
        try:
            content = _encode(newest)
            with self._changed:
                self._encoded = newest.id, content
        finally:
            with self._changed:
                self._encoding = False
                self._changed.notify_all()
        return content

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _keep_viewed(self) -> None:
        now = time.monotonic()
        if now >= self._viewed_until:  # the frame may be old
            self._newest = self._encoded = None
        self._viewed_until = now + _VIEWED_S


def shrink(pixels: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """Scale an image down to at most `longest_side` pixels.

    An area filter by a whole factor, then a linear one for the rest take a fifth of the time of one area filter.
    """
    height, width = pixels.shape[:2]
    scale = max(height, width) / longest_side
    if scale <= 1:
        return pixels
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    if (whole := int(scale)) > 1:
        part = (max(1, width // whole), max(1, height // whole))
        cropped = pixels[: part[1] * whole, : part[0] * whole]
        pixels = np.asarray(cv2.resize(cropped, part, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _encode(live: LiveFrame) -> bytes:
    width, height = live.frame.size
    shrunk = shrink(live.frame.pixels, _MAX_SIDE)
    _, jpeg = cv2.imencode(".jpg", shrunk, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    count = len(live.detections)
    content: dict[str, Any] = {
        "id": live.id,
        "captured_at": rfc3339(live.frame.captured_at),
        "frame": {"width": width, "height": height},
        "detections": _boxes(live.detections, live.tracks),
        "below": _boxes(live.candidates)[count:],
        "counts": live.detections.counts(),
    }
    # Inserted into the text, since the JPEG needs no escaping.
    text = json.dumps(content, ensure_ascii=False)
    return text[:-1].encode(errors="replace") + b', "jpeg": "' + base64.b64encode(jpeg.tobytes()) + b'"}'


def _boxes(detections: Detections, tracks: Sequence[int] | None = None) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in box.items() if value is not None} for box in detections_json(detections, tracks)
    ]
