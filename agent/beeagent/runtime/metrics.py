"""How the agent is, as Prometheus reads it: the text exposition format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from beeagent import __version__
from beeagent.messages import CollectionStatus, SecondOpinionStatus
from beeagent.runtime.health import Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]


def metrics_text(now: Snapshot) -> str:
    """Write every metric; names, labels and meanings are a promise.

    Args:
        now: how the agent is. The texts of its troubles are left out, since each would be a time series of its own.
    """
    camera = {"camera": now.camera.name}
    outbox = now.outbox
    families = [
        _family(
            "beeagent_info",
            "gauge",
            "What runs here; always 1.",
            [({"version": __version__, "device": now.device, "camera": now.camera.name, "model": now.model}, 1)],
        ),
        _family("beeagent_online", "gauge", "1 if nothing is wrong, 0 if something is.", [({}, not now.troubles)]),
        _family(
            "beeagent_trouble",
            "gauge",
            "1 for each part that is in trouble; absent for the others.",
            [({"part": part}, 1) for part in sorted(now.troubles)],
        ),
        _family("beeagent_uptime_seconds", "gauge", "Time since the agent started.", [({}, now.uptime_s)]),
        _family("beeagent_frames_total", "counter", "Frames looked at.", [(camera, now.camera.frames_read)]),
        _family(
            "beeagent_frames_skipped_total",
            "counter",
            "Frames that could not be read.",
            [(camera, now.camera.frames_skipped)],
        ),
        _family(
            "beeagent_frames_replaced_total",
            "counter",
            "Frames dropped because a newer one came before they were processed.",
            [(camera, now.camera.frames_replaced)],
        ),
        _family(
            "beeagent_frames_rate_limited_total",
            "counter",
            "Frames dropped because they came sooner than max_rate allows.",
            [(camera, now.camera.frames_rate_limited)],
        ),
        _family(
            "beeagent_camera_reconnects_total",
            "counter",
            "How many times the camera was opened again.",
            [(camera, now.camera.reconnects)],
        ),
        _family(
            "beeagent_frames_per_second",
            "gauge",
            "Frames looked at per second, lately.",
            [(camera, now.camera.frames_per_s)],
        ),
        _family(
            "beeagent_frame_age_seconds",
            "gauge",
            "Time since the newest frame was taken; absent before the first.",
            [] if now.camera.frame_age_s is None else [(camera, now.camera.frame_age_s)],
        ),
        _family(
            "beeagent_results_produced_total",
            "counter",
            "Results taken, over all restarts: delivered, waiting or dropped.",
            [({}, outbox.produced)],
        ),
        _family(
            "beeagent_results_delivered_total",
            "counter",
            "Results that the broker has acknowledged, over all restarts.",
            [({}, outbox.delivered)],
        ),
        _family(
            "beeagent_results_dropped_total",
            "counter",
            "Results given up, over all restarts, by reason.",
            [({"reason": reason}, count) for reason, count in sorted(outbox.dropped.items())],
        ),
        _family("beeagent_results_waiting", "gauge", "Results not yet acknowledged.", [({}, outbox.waiting)]),
        _family(
            "beeagent_last_delivery_timestamp_seconds",
            "gauge",
            "When the broker last acknowledged a result, in Unix time; absent until it has since the start.",
            [] if now.last_delivery is None else [({}, now.last_delivery.timestamp())],
        ),
    ]
    return "".join([*families, *_of_second_opinion(now.second_opinion)])


def _of_second_opinion(opinion: SecondOpinionStatus | None) -> list[str]:
    if opinion is None:
        return []
    degraded = [({"reason": reason}, count) for reason, count in sorted(opinion.degraded.items())]
    return [
        _family(
            "beeagent_unsure_frames_total", "counter", "Frames to ask the cloud model about.", [({}, opinion.asked)]
        ),
        _family(
            "beeagent_unsure_frames_cloud_total",
            "counter",
            "Unsure frames that the cloud model decided on.",
            [({}, opinion.cloud)],
        ),
        _family(
            "beeagent_unsure_frames_degraded_total",
            "counter",
            "Unsure frames that got no second opinion, by reason.",
            degraded,
        ),
        _family("beeagent_cloud_calls_total", "counter", "Calls to the cloud model.", [({}, opinion.calls)]),
        _family(
            "beeagent_cloud_calls_saved_total",
            "counter",
            "Calls saved, since another frame showed the same.",
            [({}, opinion.saved)],
        ),
        _family(
            "beeagent_cloud_model_seen_running_seconds_total",
            "counter",
            "Time for which the cloud model was seen to run; at least so long.",
            [({}, opinion.seen_running_s)],
        ),
        _family(
            "beeagent_cloud_model_estimated_cost_dollars_total",
            "counter",
            "What the time seen has cost at the price of the settings.",
            [({}, opinion.estimated_cost_usd)],
        ),
        *_of_collection(opinion.collected),
    ]


def _of_collection(collected: CollectionStatus | None) -> list[str]:
    if collected is None:
        return []
    return [
        _family(
            "beeagent_collected_pictures", "gauge", "Frames that are kept to train on.", [({}, collected.pictures)]
        ),
        _family("beeagent_collected_bytes", "gauge", "What those take on disk.", [({}, collected.megabytes * 1e6)]),
    ]


def _family(name: str, kind: Literal["counter", "gauge"], meaning: str, samples: Iterable[_Sample]) -> str:
    """Write a metric, whose meaning needs no escaping."""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {float(value)!r}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
