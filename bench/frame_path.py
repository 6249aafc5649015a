"""List the function hops of a frame from a camera to its PUBLISH, and the threads.

    mosquitto -p 1884 & python bench/frame_path.py docs/bees-found.jpg --broker mqtt://127.0.0.1:1884

A hop is a function of beeagent that has the frame, or data derived from it (pixels, tensors, outputs, detections,
message, payload, row), as an argument (other than `self`), a local variable or the return value. A function that only
computes a number, a flag or a name is no hop, nor is a comprehension.

A mock of `cv2.VideoCapture` returns the image again some time after the last frame was published, so that one frame is
processed at a time. The frame with the fewest hops counts: on a busy machine, a late thread may do more for one frame.
"""

import argparse
import inspect
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final
from unittest import mock

import beeagent
import cv2
import numpy as np
from beeagent.camera import Frame, read_image
from beeagent.detection import Detections
from beeagent.messages import Message
from beeagent.outbox import Row
from beeagent.runtime import Agent, FrameResult, load_model
from beeagent.settings import load_settings
from numpy.typing import NDArray
from paho.mqtt.client import Client

_PACKAGE: Final = str(Path(beeagent.__file__).parent)
_FRAMES: Final = 20
_FIRST: Final = 3  # the frames before are not counted: parts are still being set up
_PRIVATE_CARRIERS: Final = {
    "_Prepared", "_Inferred", "PreparedFrame", "RawOutputs", "DecodedFrame", "_Decision", "Batch", "Publish",
}  # fmt: skip
_MIN_PAYLOAD: Final = 100  # bytes; shorter ones are no message

_Hop = tuple[str, str]  # thread and function


def _carries(value: object, depth: int = 2) -> bool:
    """Return whether a value is, or contains, the frame or data derived from it."""
    if isinstance(value, Frame | FrameResult | Detections | Message | Row):
        return True
    if isinstance(value, np.ndarray):
        return value.size > 0
    if isinstance(value, bytes):
        return len(value) > _MIN_PAYLOAD
    if type(value).__name__ in _PRIVATE_CARRIERS:
        return True
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return depth > 0 and isinstance(value, tuple | list) and any(_carries(one, depth - 1) for one in value)


class _Trace:
    """Records the hops of a frame."""

    def __init__(self) -> None:
        self.frames: list[list[_Hop]] = []
        self.threads: set[str] = set()
        self._hops: dict[_Hop, None] | None = None
        self.published = threading.Event()
        self.published.set()

    def begin(self) -> None:
        """Start with the next frame."""
        self.published.clear()
        self._hops = {}

    def end(self) -> None:
        """End the frame, which is published."""
        if self._hops is not None:
            # Callers that have not returned yet, up to the loop of this thread.
            frame = inspect.currentframe()
            while frame is not None:
                self._note(frame, None)
                frame = frame.f_back
            self.frames.append(list(self._hops))
            self._hops = None
            self.published.set()
            self.threads.update(thread.name for thread in threading.enumerate())

    def __call__(self, frame: FrameType, event: str, result: object) -> None:
        """Record a function that is called or returns (see `sys.setprofile`), and its caller, which may be a loop."""
        if event in {"call", "return"} and self._hops is not None:
            self._note(frame, result)
            if frame.f_back is not None:
                self._note(frame.f_back, None)

    def _note(self, frame: FrameType, result: object) -> None:
        code, hops = frame.f_code, self._hops
        name = getattr(code, "co_qualname", code.co_name)
        if hops is None or not code.co_filename.startswith(_PACKAGE) or name.endswith(">"):
            return
        thread = threading.current_thread().name
        hop = ("infer" if thread.startswith("infer") else thread, f"{Path(code.co_filename).stem}: {name}")
        values = [value for name, value in frame.f_locals.items() if name != "self"]
        if hop not in hops and (_carries(result) or any(_carries(value) for value in values)):
            hops[hop] = None


class _Capture:
    """Mock of `cv2.VideoCapture`."""

    def __init__(self, image: Path, trace: _Trace) -> None:
        self._pixels = cv2.resize(read_image(image), (1280, 720))
        self._trace = trace
        self._shown = 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return 0.0

    def set(self, _: int, __: float) -> bool:
        return True

    def grab(self) -> bool:
        """Wait until some time after the last frame was published."""
        self._trace.published.wait()
        time.sleep(0.5)
        self._shown += 1
        self._trace.begin()
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """Return the image with one changed pixel, because a camera whose image never changes counts as frozen."""
        pixels = np.array(self._pixels, dtype=np.uint8)
        pixels[0, 0] = self._shown
        return True, pixels

    def release(self) -> None:
        pass


def main() -> None:
    """Run the agent and print the hops of a frame in order, by thread."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("image", type=Path)
    parser.add_argument("--broker", required=True)
    args = parser.parse_args()
    trace, publish = _Trace(), Client.publish

    def published(self: Client, topic: str, *arguments: Any, **more: Any) -> object:  # noqa: ANN401 - as paho's
        if topic.endswith("/detections"):
            trace.end()
        return publish(self, topic, *arguments, **more)

    settings = load_settings(
        {"camera": "rtsp://camera.invalid/", "broker": args.broker, "publish": "always", "camera_name": "bench",
         "frames": _FRAMES}
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(cv2, "VideoCapture", return_value=_Capture(args.image, trace)),
        mock.patch.object(Client, "publish", published),
    ):
        threading.setprofile(trace)
        sys.setprofile(trace)
        Agent(settings, bundle=load_model(settings), outbox_path=Path(folder) / "outbox.sqlite3").run()
        sys.setprofile(None)
    hops = min(trace.frames[_FIRST:], key=len)
    for number, (thread, function) in enumerate(sorted(hops, key=lambda hop: _order(hops, hop)), 1):
        print(f"{number:3}  {thread:12} {function}")
    print(f"{len(hops)} hops, {len(trace.threads)} threads: {', '.join(sorted(trace.threads))}")


def _order(hops: list[_Hop], hop: _Hop) -> tuple[int, int]:
    """Sort by thread, in the order in which the threads first have the frame."""
    threads = list(dict.fromkeys(thread for thread, _ in hops))
    return threads.index(hop[0]), hops.index(hop)


if __name__ == "__main__":
    main()
