"""An HTTP server that serves one file, with or without ranges, and can simulate failures."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server does, and what it was asked.

    Attributes:
        content: the file.
        etag: its entity tag, quotes included; None for none.
        ranges: whether it knows Range.
        if_range: whether it knows If-Range, too.
        cut_after: the connection is closed after so many bytes of a body, once for each entry.
        statuses: answers to give before anything else, one for each request.
        requests: the Range header of each request so far, or None.
    """

    content: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    if_range: bool = True
    announces_length: bool = True
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    url: str = ""

    def change(self, content: bytes, etag: str | None) -> None:
        """Put another file in its place."""
        self.content, self.etag = content, etag


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def do_GET(self) -> None:
        served = self.served
        served.requests.append(self.headers.get("Range"))
        if served.statuses:
            self.send_error(served.statuses.pop(0))
            return
        start = self._start()
        if start is not None and start >= len(served.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(served.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = served.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            end, total = len(served.content) - 1, len(served.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        if served.announces_length:
            self.send_header("Content-Length", str(len(body)))
        if served.etag is not None:
            self.send_header("ETag", served.etag)
        if served.last_modified is not None:
            self.send_header("Last-Modified", served.last_modified)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has seen enough may hang up
            self.wfile.write(body[: served.cut_after.pop(0)] if served.cut_after else body)
        self.close_connection = True

    def _start(self) -> int | None:
        """Return the first requested byte of a range request."""
        asked = self.headers.get("Range")
        if asked is None or not self.served.ranges:
            return None
        condition = self.headers.get("If-Range")
        if (
            condition is not None
            and self.served.if_range
            and condition not in {self.served.etag, self.served.last_modified}
        ):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep quiet."""


@contextlib.contextmanager
def range_server(content: bytes) -> Iterator[Served]:
    """Serve a file at `url`, on a free port."""
    served = Served(content)
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/data/dataset.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
