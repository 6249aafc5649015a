"""The state of the agent over HTTP: `/metrics` for Prometheus, `/healthz` for health checks."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from beeagent import __version__
from beeagent.errors import InputError
from beeagent.runtime.status import Health, Snapshot
from beeagent.settings import Settings

_MAX_CONNECTIONS: Final = 8
_REQUEST_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.2
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]
_Metric = tuple[str, str, float | list[_Sample] | None]


class HealthServer(ThreadingHTTPServer):
    """An HTTP server for two read-only resources, on threads of its own.

    `GET /metrics` returns Prometheus metrics. `GET /healthz` returns `{"state": …, "reasons": […]}` with status 200
    when online and 503 when degraded; while the camera sleeps, also `"asleep": {"since": …, "until": …}`. There is no
    authentication and no encryption: anyone who can reach the port can read both, and do nothing else.

    A request times out 5 seconds after its connection, however slowly it is sent or its response is read. At most 8
    connections are open; the next one replaces the oldest, so that silent clients lock nobody out.

    Args:
        health: the state to serve.
        host: the address to listen on.
        port: the port; 0 for a free one.

    Raises:
        InputError: it cannot listen there.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * _MAX_CONNECTIONS

    def __init__(self, health: Health, *, host: str, port: int) -> None:
        self.health = health
        self._open: dict[socket.socket, float] = {}  # with the time of its time-out, the oldest first
        self._open_lock = threading.Lock()
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__((str(address[0]), int(address[1])), _Handler)
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise InputError(
                f"http_host {host} with http_port {port} cannot be listened on ({reason.lower()}): give others, or no "
                "http_port for no HTTP"
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and close every connection. To be called once, after `start`."""
        if self._thread.is_alive():  # or this would wait for ever
            self.shutdown()
        self.server_close()
        with self._open_lock:
            for connection in list(self._open):
                self._drop(connection)

    def server_bind(self) -> None:
        """Bind, without the base's look-up of the host name, which would wait for a dead name server."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "beeagent", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's own signature
        """Handle a request on a thread of its own; make room for it first."""
        with self._open_lock:
            if len(self._open) >= _MAX_CONNECTIONS:
                self._drop(next(iter(self._open)))
            self._open[request] = time.monotonic() + _REQUEST_TIMEOUT_S
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Drop connections that have timed out; called by the base after every poll."""
        now = time.monotonic()
        with self._open_lock:
            for connection in [connection for connection, end in self._open.items() if end <= now]:
                self._drop(connection)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the base's own signature
        """Close a connection whose request has been handled."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base's own signature
        """Ignore a client that went away or was dropped; any other exception ends the thread, which the guard notices.

        The base would print a traceback for either, and go on.
        """
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            raise error

    def _drop(self, connection: socket.socket) -> None:
        """Wake the thread that waits for this client, which then closes it. Under the lock: it is not closed yet."""
        del self._open[connection]
        with suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving_health(settings: Settings, health: Health) -> Iterator[None]:
    """While entered, serve the state on the host and port of the settings, if there is a port.

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


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Send the resource."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(HTTPStatus.OK, _METRICS_TYPE, metrics_text(self.server.health.snapshot()))
        elif path == "/healthz":
            now = self.server.health.snapshot()
            status = HTTPStatus.SERVICE_UNAVAILABLE if now.problems else HTTPStatus.OK
            body: dict[str, Any] = {"state": now.state, "reasons": list(now.reasons)}
            if now.asleep is not None:
                body["asleep"] = now.asleep.model_dump(exclude_none=True)
            self._send(status, "application/json", json.dumps(body, ensure_ascii=False) + "\n")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "the resources are /metrics and /healthz")

    def do_HEAD(self) -> None:
        """Send the headers alone."""
        self.do_GET()

    def version_string(self) -> str:
        """Name the agent, and not its Python version."""
        return "beeagent"

    def log_message(self, *_: object) -> None:
        """Log nothing: a scrape every few seconds would fill the log."""

    def _send(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def metrics_text(now: Snapshot) -> str:
    """Return all metrics in Prometheus' text exposition format, version 0.0.4; their names and labels are stable.

    The texts of problems are left out, since each would be a time series of its own.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    camera, outbox, opinion = now.camera, now.outbox, now.second_opinion
    front = {"camera": camera.name}
    info = {"version": __version__, "device": now.device, "camera": camera.name, "model": now.model}
    delivered_at = None if now.last_delivery is None else now.last_delivery.timestamp()
    metrics: list[_Metric] = [
        ("info", "Version, device, camera and model; always 1.", [(info, 1)]),
        ("online", "1 without problems, 0 with.", not now.problems),
        (
            "trouble",
            "1 for each component with a problem; absent for the others.",
            [({"part": component}, 1) for component in sorted(now.problems)],
        ),
        ("asleep", "1 while the camera sleeps, 0 while it is active.", now.asleep is not None),
        (
            "wake_timestamp_seconds",
            "When the camera wakes, in Unix time; absent while it is active, and where that depends on the light.",
            None if now.asleep is None or now.asleep.until is None else _unix_time(now.asleep.until),
        ),
        ("uptime_seconds", "Time since the agent started.", now.uptime_s),
        ("frames_total", "Frames processed.", [(front, camera.frames_read)]),
        ("frames_skipped_total", "Frames that could not be read.", [(front, camera.frames_skipped)]),
        (
            "frames_replaced_total",
            "Frames dropped because a newer one came before they were processed.",
            [(front, camera.frames_replaced)],
        ),
        (
            "frames_rate_limited_total",
            "Frames dropped because they came sooner than max_rate allows.",
            [(front, camera.frames_rate_limited)],
        ),
        ("camera_reconnects_total", "How many times the camera was opened again.", [(front, camera.reconnects)]),
        ("frames_per_second", "Frames processed per second, lately.", [(front, camera.frames_per_s)]),
        (
            "frame_age_seconds",
            "Time since the newest frame was captured; absent before the first.",
            [] if camera.frame_age_s is None else [(front, camera.frame_age_s)],
        ),
        (
            "results_produced_total",
            "Results stored, over all restarts: delivered, waiting or dropped.",
            outbox.produced,
        ),
        ("results_delivered_total", "Results acknowledged by the broker, over all restarts.", outbox.delivered),
        ("results_dropped_total", "Results dropped, over all restarts, by reason.", _by_reason(outbox.dropped)),
        ("results_waiting", "Results not yet acknowledged.", outbox.waiting),
        (
            "last_delivery_timestamp_seconds",
            "When the broker last acknowledged a result, in Unix time; absent until it has since the start.",
            delivered_at,
        ),
    ]
    if now.passages is not None:
        passages: list[_Sample] = [
            ({**front, "place": place, "label": label, "direction": direction}, count)
            for (place, label, direction), count in sorted(now.passages.items())
        ]
        metrics.append(("passages_total", "How many came in and went out at each place, over all restarts.", passages))
    if opinion is not None:
        metrics += [
            ("unsure_frames_total", "Frames on which a second opinion was wanted.", opinion.asked),
            ("unsure_frames_cloud_total", "Unsure frames decided by the cloud model.", opinion.cloud),
            (
                "unsure_frames_degraded_total",
                "Unsure frames without a second opinion, by reason.",
                _by_reason(opinion.degraded),
            ),
            ("cloud_calls_total", "Calls to the cloud model.", opinion.calls),
            ("cloud_calls_saved_total", "Calls saved because another frame showed the same.", opinion.saved),
            (
                "cloud_model_seen_running_seconds_total",
                "Time the cloud model was seen running, a lower bound.",
                opinion.seen_running_s,
            ),
            (
                "cloud_model_estimated_cost_dollars_total",
                "Cost of that time at the configured price.",
                opinion.estimated_cost_usd,
            ),
        ]
        if (collected := opinion.collected) is not None:
            metrics += [
                ("collected_pictures", "Frames saved as training data.", collected.pictures),
                ("collected_bytes", "Their size on disk.", collected.megabytes * 1e6),
            ]
    return "".join(_family(*metric) for metric in metrics)


def _unix_time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _by_reason(counts: Mapping[str, int]) -> list[_Sample]:
    return [({"reason": reason}, count) for reason, count in sorted(counts.items())]


def _family(name: str, description: str, value: float | list[_Sample] | None) -> str:
    """Return a metric: of one value, absent for None, or of several samples. Its description must need no escaping."""
    samples = value if isinstance(value, list) else [] if value is None else [({}, value)]
    kind = "counter" if name.endswith("_total") else "gauge"
    lines = [f"# HELP beeagent_{name} {description}", f"# TYPE beeagent_{name} {kind}"]
    lines += [f"beeagent_{name}{_labels(labels)} {float(number)!r}" for labels, number in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
