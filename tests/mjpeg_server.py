"""A camera on the network that tests can make misbehave: Motion JPEG over HTTP, with numbered pictures."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
from numbered_frames import numbered_picture
from typing_extensions import Self

_BOUNDARY = "frame"


class MjpegServer:
    """Serves `/stream` on 127.0.0.1, at 50 pictures a second, each connection from 0 on.

    Args:
        port: 0 for any free one; a test that brings a server back gives the port it had.
    """

    def __init__(self, port: int = 0) -> None:
        self._halted = threading.Event()
        self._closing = threading.Event()
        self._drop = threading.Event()
        self.connections = 0
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

    def go_on(self) -> None:
        """Send again."""
        self._halted.clear()

    def drop_connections(self) -> None:
        """End the connections there are; new ones are served."""
        self._drop.set()
        self._drop = threading.Event()

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
        self.connections += 1
        drop = self._drop
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        handler.end_headers()
        number = 0
        while not (self._closing.is_set() or drop.is_set()):
            if not self._halted.is_set():
                jpeg = cv2.imencode(".jpg", numbered_picture(number % 1024))[1].tobytes()
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                handler.wfile.write(head.encode() + jpeg + b"\r\n")
                number += 1
            drop.wait(0.02)
