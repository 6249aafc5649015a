"""Health over HTTP, for machines: `/metrics` for Prometheus, `/healthz` for whoever restarts or rings."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from beeagent.errors import InputError
from beeagent.runtime.health import Health
from beeagent.runtime.metrics import CONTENT_TYPE, metrics_text
from beeagent.settings import Settings

_MOST_CONNECTIONS: Final = 8
_REQUEST_WITHIN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.2


class HealthServer:
    """Answers two questions, on threads of its own, and takes nothing else in.

    `GET /metrics` returns the metrics of `beeagent.runtime.metrics`. `GET /healthz` returns
    `{"state": …, "reasons": […]}` with status 200 when online and 503 when degraded. There is no authentication and no
    encryption: who can reach the port can read it, and do nothing besides.

    A request has 5 seconds from its connection on, however slowly it comes or is taken. At most 8 connections are
    open; the next one takes the place of the oldest, so that those who say nothing keep nobody out.

    Args:
        health: what to tell.
        host: the address to listen at.
        port: the port; 0 takes one that is free.

    Raises:
        InputError: it cannot listen there.
    """

    def __init__(self, health: Health, *, host: str, port: int) -> None:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(health, family, address[:2])
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise InputError(
                f"http_host {host} with http_port {port} cannot be listened at ({reason.lower()}): give others, or no "
                "http_port for no HTTP"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY_S,), name="http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and close every connection. To be called once, after `start`."""
        if self._thread.is_alive():  # or it would be waited for without end
            self._server.shutdown()
        self._server.server_close()
        self._server.drop_all()


@contextmanager
def serving_health(settings: Settings, health: Health) -> Iterator[None]:
    """While entered, serve health where the settings say; they may say nowhere.

    Raises:
        InputError: it cannot listen there.
    """
    if settings.http.port is None:
        yield
        return
    server = HealthServer(health, host=settings.http.host, port=settings.http.port)
    server.start()
    try:
        yield
    finally:
        server.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * _MOST_CONNECTIONS

    def __init__(self, health: Health, family: socket.AddressFamily, address: Any) -> None:  # noqa: ANN401 - the family's
        self.address_family = family
        self.health = health
        self._open: dict[socket.socket, float] = {}  # with the time of its end, the oldest first
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without the base's look-up of the host's name, for which a dead name server is waited for."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "beeagent", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's own signature
        """Begin to answer on a thread of its own; make room for it first."""
        with self._open_lock:
            if len(self._open) >= _MOST_CONNECTIONS:
                self._drop(next(iter(self._open)))
            self._open[request] = time.monotonic() + _REQUEST_WITHIN_S
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Drop those that have had their time; called by the base after every look for new ones."""
        now = time.monotonic()
        with self._open_lock:
            for connection in [connection for connection, end in self._open.items() if end <= now]:
                self._drop(connection)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the base's own signature
        """End a connection that is done with."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def drop_all(self) -> None:
        """Drop every connection."""
        with self._open_lock:
            for connection in list(self._open):
                self._drop(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base's own signature
        """Pass over a client that went away or was dropped; let anything else end the thread, and be noticed so.

        The base would print a traceback for either, and go on.
        """
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            raise error

    def _drop(self, connection: socket.socket) -> None:
        """Wake the thread that waits for this client, which then ends it. Under the lock, so it is not closed yet."""
        del self._open[connection]
        with suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE, metrics_text(self.server.health.snapshot()))
        elif path == "/healthz":
            now = self.server.health.snapshot()
            status = HTTPStatus.SERVICE_UNAVAILABLE if now.troubles else HTTPStatus.OK
            text = json.dumps({"state": now.state, "reasons": list(now.reasons)}, ensure_ascii=False)
            self._answer(status, "application/json", text + "\n")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "there are /metrics and /healthz")

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def version_string(self) -> str:
        """Name what answers, and not the Python below it."""
        return "beeagent"

    def log_message(self, *_: object) -> None:
        """Write nothing: a scrape every few seconds would fill the log."""

    def _answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
