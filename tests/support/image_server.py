"""A network camera that returns one still image per request, and can simulate failures."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from support.numbered_frames import numbered_image


class ImageServer:
    """Serves an image with the number of the request at any path, in the format of the path's suffix.

    Attributes:
        login: `user:password` that it asks for; None for none.
        status: status of the HTTP response.
        cut: bytes of the image that it sends; None for all.
        with_length: whether it says how long the image is.
    """

    def __init__(self) -> None:
        self.login: str | None = None
        self.status = 200
        self.cut: int | None = None
        self.with_length = True
        self.requests = 0
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def url(self, path: str = "snap.jpg", *, login: str = "") -> str:
        return f"http://{login and login + '@'}127.0.0.1:{self.server.server_port}/{path}"

    def wait_for_requests(self, count: int, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.requests >= count, timeout)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        if (
            self.login
            and handler.headers.get("Authorization") != f"Basic {base64.b64encode(self.login.encode()).decode()}"
        ):
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
            return
        with self._changed:
            number, self.requests = self.requests, self.requests + 1
            self._changed.notify_all()
        if self.status != 200:
            handler.send_error(self.status)
            return
        suffix = "." + handler.path.partition("?")[0].rpartition(".")[2]
        content = cv2.imencode(suffix, numbered_image(number % 1024))[1].tobytes()[: self.cut]
        handler.send_response(200)
        handler.send_header("Content-Type", f"image/{suffix[1:].replace('jpg', 'jpeg')}")
        if self.with_length:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def image_server() -> Iterator[ImageServer]:
    """Serve while the context lasts."""
    served = ImageServer()
    threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
