"""An HTTP server with limits on time, connections, headers and bodies.

It serves the metrics and the page. It is based on the standard library, since the metrics must work without extras, and
a web framework for the page would be a second server with the same limits to configure.
"""

import ipaddress
import logging
import math
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from beeagent.errors import InputError
from beeagent.threads import lower_thread_priority

_LOG: Final = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S: Final = 5.0
_TRUSTED_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.2
_MAX_HEADER_BYTES: Final = 16 * 1024  # of the request line and all headers together
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Attributes:
        status: HTTP status.
        body: content of the response.
        content_type: media type of the body.
        headers: additional headers.
    """

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: HTTP status of the response.
        text: reason, in one line.
        headers: additional headers of the response.
    """

    def __init__(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """A request; only its size has been checked.

    Attributes:
        method: HTTP method.
        path: path of the URL, without the query.
        query: query of the URL, without `?`.
        headers: HTTP headers.
        body: content of the request, within the server's limit.
        client: address of the client.
        local: local address and port of the connection.
        secure: True for TLS.
        trust: marks the connection as trusted, which extends its timeout and exempts it from replacement.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes
    client: str
    local: tuple[str, int]
    secure: bool
    trust: Callable[[], None]

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if it is missing or given more than once."""
        values = self.headers.get_all(name, [])
        return str(values[0]) if len(values) == 1 else None


@dataclass(slots=True)
class _Connection:
    network: str
    ends_at: float
    trusted: bool = False


class HttpServer(ThreadingHTTPServer):
    """Serves an app on its own threads, which have a low priority.

    A request times out 5 seconds after the start of the connection or the previous response; on a trusted connection
    after 30. The time that the app takes does not count, and the response has the same time again. At most
    `max_connections` are open. One more replaces the oldest untrusted one of the network with the most of them, so that
    idle clients cannot lock out others.

    Args:
        app: function that returns the response to a request. Called on many threads; an exception from it ends the
            agent.
        host: address to listen on.
        port: port to listen on; 0 for a free one.
        setting: prefix of the names of the corresponding settings, for errors.
        methods: methods that the app handles; others are refused.
        headers: headers of every response.
        max_connections: maximum number of open connections.
        max_body: maximum size of a request's body in bytes.
        keep_alive: True to allow several requests on a connection.
        tls: TLS context for HTTPS; None for HTTP.

    Raises:
        InputError: the address or port cannot be listened on.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(  # noqa: PLR0913 - keywords
        self,
        app: Callable[[Request], Response],
        *,
        host: str,
        port: int,
        setting: str,
        methods: frozenset[str] = frozenset({"GET", "HEAD"}),
        headers: Mapping[str, str] | None = None,
        max_connections: int = 8,
        max_body: int = 0,
        keep_alive: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.app = app
        self.methods = methods
        self.headers = {"Cache-Control": "no-store", **(headers or {})}
        self.max_body = max_body
        self.keep_alive = keep_alive
        self.tls = tls
        self.request_queue_size = 2 * max_connections
        self._max_connections = max_connections
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self._open_lock = threading.Lock()
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__((str(address[0]), int(address[1])), _Handler)
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise InputError(
                f"{setting}_host {host} with {setting}_port {port} cannot be listened on ({reason.lower()}): "
                "give others"
            ) from error
        self._thread = threading.Thread(target=self._run, name=setting, daemon=True)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and close every connection. Idempotent; also valid without `start`."""
        if self._thread.is_alive():  # otherwise `shutdown` blocks for ever
            self.shutdown()
        self.server_close()
        with self._open_lock:
            for connection in list(self._open):
                self._drop(connection)

    def server_bind(self) -> None:
        """Bind without the base class's look-up of the host name, which blocks while the name server is unreachable."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "beeagent", self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Its handler's thread does the TLS handshake, since a client may be slow."""
        connection, address = super().get_request()
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError) as error:  # the client has gone, or has sent data already
                connection.close()
                raise ConnectionAbortedError(str(error)) from error
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - signature of the base class
        """Handle a connection on its own thread; drop another one if there are too many."""
        network = network_of(str(client_address[0]))
        with self._open_lock:
            self._open[request] = _Connection(network, time.monotonic() + _REQUEST_TIMEOUT_S)
            if len(self._open) > self._max_connections:
                self._drop(self._replaceable())
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Drop connections that have timed out; called by the base class after every poll."""
        if not self._open:
            return
        now = time.monotonic()
        with self._open_lock:
            for connection in [key for key, state in self._open.items() if state.ends_at <= now]:
                self._drop(connection)

    def extend(self, connection: socket.socket, *, trust: bool = False) -> None:
        """Restart the timeout of a connection.

        Args:
            connection: the connection.
            trust: True to mark it as trusted.
        """
        with self._open_lock:
            if (state := self._open.get(connection)) is not None:
                state.trusted |= trust
                state.ends_at = time.monotonic() + (_TRUSTED_TIMEOUT_S if state.trusted else _REQUEST_TIMEOUT_S)

    def suspend_time_limit(self, connection: socket.socket) -> None:
        """Keep a connection open while the app handles its request, until `extend`."""
        with self._open_lock:
            if (state := self._open.get(connection)) is not None:
                state.ends_at = math.inf

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - signature of the base class
        """Close a connection whose requests have been handled."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Ignore lost or dropped connections; any other exception ends the thread, and so the agent.

        The base class would print a traceback for both and continue.
        """
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            raise error

    def _run(self) -> None:
        lower_thread_priority()  # the threads of the requests inherit it
        self.serve_forever(_POLL_S)

    def _replaceable(self) -> socket.socket:
        strangers = {key: state for key, state in self._open.items() if not state.trusted}
        if not strangers:
            return next(iter(self._open))
        (network, _), *_ = Counter(state.network for state in strangers.values()).most_common(1)
        return next(key for key, state in strangers.items() if state.network == network)

    def _drop(self, connection: socket.socket) -> None:
        """Wake the thread of a connection, which then closes it. The caller holds the lock, so it is still open."""
        del self._open[connection]
        with suppress(OSError):  # closed by the client
            # `shutdown` of a TLS socket would make the other thread read without TLS.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def network_of(address: str) -> str:
    """Return the network that a single client may own: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def tls_context(certificate: Path, key: Path | None, *, setting: str) -> ssl.SSLContext:
    """Return a context for HTTPS, with TLS 1.2 or newer.

    Args:
        certificate: PEM file of the certificate and its chain.
        key: PEM file of the private key; None if it is in the same file.
        setting: prefix of the names of the corresponding settings, for errors.

    Raises:
        InputError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, certificate, key, setting=setting)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None, *, setting: str) -> None:
    """Load a certificate, or a renewed one, into a context; for the arguments see `tls_context`."""
    try:
        # With a password set, OpenSSL does not prompt for the passphrase of an encrypted key, but fails.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"{setting}_certificate_file {certificate}{'' if key is None else f' with {setting}_key_file {key}'} "
            f"cannot be used ({reason}): give PEM files of a certificate and its key, without passphrase"
        ) from error


class _LimitedReader:
    """A reader that limits the total size of lines, so that headers cannot fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = _MAX_HEADER_BYTES
        self.read, self.close = file.read, file.close

    @property
    def closed(self) -> bool:
        return self._file.closed

    def readline(self, size: int = -1) -> bytes:
        line = self._file.readline(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(line)
        if self.left < 0:
            raise ConnectionAbortedError("the headers of the request are too long")
        return line


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT

    def setup(self) -> None:
        super().setup()
        self.protocol_version = "HTTP/1.1" if self.server.keep_alive else "HTTP/1.0"
        self._reader = _LimitedReader(cast("BinaryIO", self.rfile))
        self.rfile = cast("Any", self._reader)

    def handle(self) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
        super().handle()

    def handle_one_request(self) -> None:
        self._reader.left = _MAX_HEADER_BYTES
        super().handle_one_request()
        self.server.extend(self.connection)

    def do_GET(self) -> None:
        """Handle a request of any method."""
        if self.command not in self.server.methods:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED, f"unsupported method ({self.command!r})")
        elif (body := self._read_body()) is not None:
            path, _, query = self.path.partition("?")
            request = Request(
                method=self.command,
                path=path,
                query=query,
                headers=self.headers,
                body=body,
                client=str(self.client_address[0]),
                local=self.connection.getsockname()[:2],
                secure=isinstance(self.connection, ssl.SSLSocket),
                trust=self._trust,
            )
            self.server.suspend_time_limit(self.connection)
            response = self.server.app(request)
            self.server.extend(self.connection)
            self._send(response)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def version_string(self) -> str:
        """Return the name of the server, without the version of Python."""
        return "beeagent"

    def log_message(self, *_: object) -> None:
        """Log nothing: a request every few seconds would fill the log."""

    def end_headers(self) -> None:
        """Add the headers of the server, also to errors."""
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def _trust(self) -> None:
        self.server.extend(self.connection, trust=True)

    def _read_body(self) -> bytes | None:
        """Return the body; None if it is invalid, after sending an error, which ends the connection."""
        lengths = self.headers.get_all("Content-Length", ["0"])
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED, "send a body with Content-Length")
        elif len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20):
            self.send_error(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        elif int(lengths[0]) > self.server.max_body:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have {self.server.max_body} bytes")
        else:
            body = self.rfile.read(int(lengths[0]))
            if len(body) < int(lengths[0]):
                raise ConnectionAbortedError("the body of the request is incomplete")
            return body
        return None

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        if response.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and response.status != HTTPStatus.NO_CONTENT:
            self.wfile.write(response.body)
