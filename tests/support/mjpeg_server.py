"""A network camera that can simulate failures: Motion JPEG over HTTP, with numbered images."""

import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
from typing_extensions import Self

from support.numbered_frames import numbered_image

_BOUNDARY = "frame"


class MjpegServer:
    """Serves `/stream` on 127.0.0.1, at 50 images per second, each connection from 0 on.

    Args:
        port: 0 for any free one; a test that brings a server back gives the port it had.
    """

    def __init__(self, port: int = 0) -> None:
        self._halted = threading.Event()
        self._closing = threading.Event()
        self._drop = threading.Event()
        self._encode: Callable[[int], bytes] = _numbered
        self.connections = 0
        self._open = 0
        self._connected = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/stream"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stall(self) -> None:
        """Keep connections open, but send nothing more."""
        self._halted.set()

    def repeat_itself(self, times: int | None = None) -> None:
        """Send image 1 for ever, or this number of times at the start of each connection."""
        self._encode = lambda number: _numbered(1 if times is None or number < times else number)

    def send_garbage(self) -> None:
        """Send valid parts with noise instead of images."""
        self._encode = lambda number: random.Random(number).randbytes(1000)  # noqa: S311 - for no secret

    def grow(self) -> None:
        """Send larger images, also on open connections."""
        self._encode = lambda number: _numbered(number, width=320, height=240)

    def go_on(self) -> None:
        """Send as at the beginning."""
        self._encode = _numbered
        self._halted.clear()

    def drop_connections(self) -> None:
        """End the connections there are; new ones are served."""
        self._drop.set()
        self._drop = threading.Event()

    def wait_for_connections(self, count: int, timeout: float) -> bool:
        """Return whether a total number of connections was reached in time."""
        with self._connected:
            return self._connected.wait_for(lambda: self.connections >= count, timeout)

    def wait_until_nobody_watches(self, timeout: float) -> bool:
        """Wait until no connection is open; False if one stays."""
        with self._connected:
            return self._connected.wait_for(lambda: not self._open, timeout)

    def close(self) -> None:
        """End all connections and take no new ones."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path != "/stream":
            handler.send_error(404)
            return
        with self._connected:
            self.connections += 1
            self._open += 1
            self._connected.notify_all()
        try:
            self._stream_to(handler)
        finally:
            with self._connected:
                self._open -= 1
                self._connected.notify_all()

    def _stream_to(self, handler: BaseHTTPRequestHandler) -> None:
        drop = self._drop
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        handler.end_headers()
        number = 0
        while not (self._closing.is_set() or drop.is_set()):
            if not self._halted.is_set():
                jpeg = self._encode(number)
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                handler.wfile.write(head.encode() + jpeg + b"\r\n")
                number += 1
            drop.wait(0.02)


def _numbered(number: int, *, width: int = 160, height: int = 64) -> bytes:
    return cv2.imencode(".jpg", numbered_image(number % 1024, width=width, height=height))[1].tobytes()
