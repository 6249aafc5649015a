"""The HTTP endpoints `/metrics` for Prometheus and `/healthz` for health checks."""

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
    """A server of two read-only resources.

    `GET /metrics` returns Prometheus metrics. `GET /healthz` returns `{"state": …, "reasons": […]}` with status 200
    when online and 503 when degraded; while the camera sleeps, also `"asleep": {"since": …, "until": …}`. There is no
    authentication and no encryption: everyone who can reach the port can read both.

    Args:
        health: state of the agent.
        host: address to listen on.
        port: port to listen on; 0 for a free one.

    Raises:
        InputError: the server cannot listen on this address.
    """

    def __init__(self, health: Health, *, host: str, port: int) -> None:
        resources = health_resources(health)

        def respond(request: Request) -> Response:
            if (resource := resources.get(request.path)) is not None:
                return resource()
            return Response(HTTPStatus.NOT_FOUND, b"404 the resources are /metrics and /healthz\n")

        super().__init__(respond, host=host, port=port, setting="http")


def health_resources(health: Health) -> Mapping[str, Callable[[], Response]]:
    """Return the functions that respond with the state of the agent, by path."""

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
    """Serve the state within the context, on the host and port of the settings, if there is a port.

    Raises:
        InputError: the server cannot listen on this address.
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
    """Return all metrics in Prometheus' text exposition format, version 0.0.4. Their names and labels are stable.

    The texts of problems are omitted, since each would be a separate time series.

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
            "Unix time at which the camera wakes; absent while it is active, and if it depends on the light.",
            None if now.asleep is None or now.asleep.until is None else _unix_time(now.asleep.until),
        ),
        ("uptime_seconds", "Time since the start of the agent.", now.uptime_s),
        ("frames_total", "Frames processed.", [(front, camera.frames_read)]),
        ("frames_skipped_total", "Frames that could not be read.", [(front, camera.frames_skipped)]),
        (
            "frames_replaced_total",
            "Frames dropped because a newer one arrived before their processing.",
            [(front, camera.frames_replaced)],
        ),
        (
            "frames_rate_limited_total",
            "Frames dropped because of max_rate.",
            [(front, camera.frames_rate_limited)],
        ),
        ("camera_reconnects_total", "Number of times that the camera was reopened.", [(front, camera.reconnects)]),
        ("frames_per_second", "Frames processed per second, recently.", [(front, camera.frames_per_s)]),
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
            "Unix time of the broker's last acknowledgement; absent before the first since the start.",
            delivered_at,
        ),
    ]
    if now.passages is not None:
        passages: list[_Sample] = [
            ({**front, "place": place, "label": label, "direction": direction}, count)
            for (place, label, direction), count in sorted(now.passages.items())
        ]
        metrics.append(("passages_total", "Bees that came in and went out at each place, over all restarts.", passages))
    if opinion is not None:
        metrics += [
            ("unsure_frames_total", "Frames for which a second opinion was requested.", opinion.asked),
            ("unsure_frames_cloud_total", "Unsure frames decided by the cloud model.", opinion.cloud),
            (
                "unsure_frames_degraded_total",
                "Unsure frames without a second opinion, by reason.",
                _by_reason(opinion.degraded),
            ),
            ("cloud_calls_total", "Calls of the cloud model.", opinion.calls),
            ("cloud_calls_saved_total", "Calls saved because a recent frame showed the same scene.", opinion.saved),
            (
                "cloud_model_seen_running_seconds_total",
                "Observed running time of the cloud model, a lower bound.",
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
                ("collected_bytes", "Size on disk of the saved frames.", collected.megabytes * 1e6),
            ]
    return "".join(_family(*metric) for metric in metrics)


def _unix_time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _by_reason(counts: Mapping[str, int]) -> list[_Sample]:
    return [({"reason": reason}, count) for reason, count in sorted(counts.items())]


def _family(name: str, description: str, value: float | list[_Sample] | None) -> str:
    """Return a metric with one value, none, or several samples. The description must not need escaping."""
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
