"""Count the calls of beeagent's functions from a camera's `read()` to the PUBLISH of the frame, and the threads.

    mosquitto -p 1884 & python bench/frame_path.py docs/bees-found.jpg --broker mqtt://127.0.0.1:1884

A camera shows the image again some time after the last frame was published, so that one is on its way at a time. The
frame with the fewest calls counts: on a busy machine, calls of others come on top, such as the wait for
the next frame.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import beeagent
import cv2
from beeagent.camera import Frame, SourceOpener, read_image
from beeagent.runtime import Agent, load_model
from beeagent.settings import load_settings
from paho.mqtt.client import Client

_PACKAGE = str(Path(beeagent.__file__).parent)
_FRAMES = 20
_FIRST = 3  # the frames before are not counted: parts are still being set up

_Call = tuple[str, str]  # thread and function


class _Trace:
    """Records calls while a frame is on its way."""

    def __init__(self) -> None:
        self.frames: list[list[_Call]] = []
        self.threads: set[str] = set()
        self._calls: list[_Call] | None = None
        self.published = threading.Event()
        self.published.set()

    def begin(self) -> None:
        """Begin with the next frame."""
        self.published.clear()
        self._calls = []

    def end(self) -> None:
        """Note that the frame is published."""
        if self._calls is not None:
            self.frames.append(self._calls)
            self._calls = None
            self.published.set()
            self.threads.update(thread.name for thread in threading.enumerate())

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Record a call, as `sys.setprofile` reports it."""
        code, calls = frame.f_code, self._calls
        if event == "call" and calls is not None and code.co_filename.startswith(_PACKAGE):
            name = getattr(code, "co_qualname", code.co_name)
            thread = threading.current_thread().name
            if thread != "status" and not name.endswith(">"):  # comprehensions and lambdas are parts of functions
                calls.append((thread, f"{Path(code.co_filename).stem}: {name}"))


class _Camera:
    description = "camera of the benchmark"
    live = True

    def __init__(self, image: Path, trace: _Trace) -> None:
        self._pixels = cv2.resize(read_image(image), (1280, 720))
        self._trace = trace
        self._index = 0

    def read(self) -> Frame | None:
        """Return the image again."""
        self._trace.published.wait()
        time.sleep(0.5)
        if self._index == _FRAMES:
            return None
        self._index += 1
        frame = Frame(self._pixels.copy(), datetime.now(timezone.utc), time.monotonic_ns(), self._index - 1)
        self._trace.begin()
        return frame

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    """Run the agent, and print the calls of a frame in their order by thread."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("image", type=Path)
    parser.add_argument("--broker", required=True)
    given = parser.parse_args()
    trace, publish = _Trace(), Client.publish

    def published(self: Client, topic: str, *arguments: Any, **more: Any) -> object:  # noqa: ANN401 - as paho's
        if topic.endswith("/detections"):
            trace.end()
        return publish(self, topic, *arguments, **more)

    settings = load_settings(
        {"camera": "synthetic", "broker": given.broker, "publish": "always", "camera_name": "bench"}
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(SourceOpener, "__call__", return_value=_Camera(given.image, trace)),
        mock.patch.object(Client, "publish", published),
    ):
        threading.setprofile(trace)
        sys.setprofile(trace)
        Agent(settings, bundle=load_model(settings), outbox_path=Path(folder) / "outbox.sqlite3").run()
        sys.setprofile(None)
    calls = min(trace.frames[_FIRST:], key=lambda calls: len(set(calls)))
    for (thread, function), times in Counter(calls).items():
        print(f"{times:4}  {thread:12} {function}")
    functions = len({name for _, name in calls})
    print(f"{functions} functions, {len(calls)} calls, {len(trace.threads)} threads: {sorted(trace.threads)}")


if __name__ == "__main__":
    main()
