"""The state of the agent over HTTP: `/metrics` for Prometheus, `/healthz` for health checks."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from beeagent import __version__
from beeagent.runtime.status import Health, Snapshot
from beeagent.settings import Settings
from beeagent.web import HttpServer, Request, Response

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]
_Metric = tuple[str, str, float | list[_Sample] | None]


class HealthServer(HttpServer):
    """Serves two read-only resources.

    `GET /metrics` returns Prometheus metrics. `GET /healthz` returns `{"state": …, "reasons": […]}` with status 200
    when online and 503 when degraded; while the camera sleeps, also `"asleep": {"since": …, "until": …}`. There is no
    authentication and no encryption: anyone who can reach the port can read both, and do nothing else.

    Args:
        health: the state to serve.
        host: the address to listen on.
        port: the port; 0 for a free one.

    Raises:
        InputError: it cannot listen there.
    """

    def __init__(self, health: Health, *, host: str, port: int) -> None:
        resources = health_resources(health)

        def respond(request: Request) -> Response:
            if (resource := resources.get(request.path)) is not None:
                return resource()
            return Response(HTTPStatus.NOT_FOUND, b"404 the resources are /metrics and /healthz\n")

        super().__init__(respond, host=host, port=port, setting="http")


def health_resources(health: Health) -> Mapping[str, Callable[[], Response]]:
    """Return the functions that return the state of the agent, by path."""

    def metrics() -> Response:
        return Response(HTTPStatus.OK, metrics_text(health.snapshot()).encode(errors="replace"), _METRICS_TYPE)

    def healthz() -> Response:
        now = health.snapshot()
        status = HTTPStatus.SERVICE_UNAVAILABLE if now.problems else HTTPStatus.OK
        body: dict[str, Any] = {"state": now.state, "reasons": list(now.reasons)}
        if now.asleep is not None:
            body["asleep"] = now.asleep.model_dump(exclude_none=True)
        text = json.dumps(body, ensure_ascii=False) + "\n"
        return Response(status, text.encode(errors="replace"), "application/json")

    return {"/metrics": metrics, "/healthz": healthz}


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
