"""The metrics for Prometheus match the health snapshot."""

from dataclasses import replace
from datetime import datetime, timezone

from beeagent import __version__
from beeagent.messages import Asleep, CameraStatus, CollectionStatus, SecondOpinionStatus
from beeagent.outbox import OutboxCounts
from beeagent.runtime.http import metrics_text
from beeagent.runtime.status import Snapshot
from hypothesis import given
from hypothesis import strategies as st
from support.prometheus_text import read_metrics

MOMENT = datetime(2026, 5, 4, 10, 21, 7, 500000, tzinfo=timezone.utc)

counts = st.integers(0, 10**15)
seconds = st.floats(0, 1e12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_every_value_has_its_metric() -> None:
    now = Snapshot(
        device="hive-7",
        model="bees-lite0@3f9c21d0",
        problems={"camera": "gone"},
        uptime_s=12.5,
        camera=CameraStatus(
            name="front",
            frames_read=7,
            frames_skipped=2,
            frames_per_s=3.25,
            frame_age_s=0.5,
            frames_replaced=11,
            frames_rate_limited=12,
            reconnects=13,
        ),
        outbox=OutboxCounts(produced=9, delivered=4, dropped={"full": 2}),
        last_delivery=MOMENT,
        second_opinion=SecondOpinionStatus(
            asked=9,
            cloud=5,
            degraded={"timeout": 2, "budget": 1},
            calls=6,
            saved=3,
            seen_running_s=5400.0,
            estimated_cost_usd=6.0,
            collected=CollectionStatus(pictures=12, megabytes=3.5),
        ),
        passages={("door", "bee", "in"): 9410, ("door", "bee", "out"): 9466},
        asleep=Asleep.between(MOMENT, MOMENT),
    )
    front = (("camera", "front"),)
    info = (("camera", "front"), ("device", "hive-7"), ("model", "bees-lite0@3f9c21d0"), ("version", __version__))
    assert read_metrics(metrics_text(now)) == {
        ("beeagent_info", info): 1,
        ("beeagent_online", ()): 0,
        ("beeagent_trouble", (("part", "camera"),)): 1,
        ("beeagent_asleep", ()): 1,
        ("beeagent_wake_timestamp_seconds", ()): 1777890067.5,
        ("beeagent_uptime_seconds", ()): 12.5,
        ("beeagent_frames_total", front): 7,
        ("beeagent_frames_skipped_total", front): 2,
        ("beeagent_frames_replaced_total", front): 11,
        ("beeagent_frames_rate_limited_total", front): 12,
        ("beeagent_camera_reconnects_total", front): 13,
        ("beeagent_frames_per_second", front): 3.25,
        ("beeagent_frame_age_seconds", front): 0.5,
        ("beeagent_results_produced_total", ()): 9,
        ("beeagent_results_delivered_total", ()): 4,
        ("beeagent_results_dropped_total", (("reason", "full"),)): 2,
        ("beeagent_results_waiting", ()): 3,
        ("beeagent_last_delivery_timestamp_seconds", ()): 1777890067.5,
        ("beeagent_unsure_frames_total", ()): 9,
        ("beeagent_unsure_frames_cloud_total", ()): 5,
        ("beeagent_unsure_frames_degraded_total", (("reason", "timeout"),)): 2,
        ("beeagent_unsure_frames_degraded_total", (("reason", "budget"),)): 1,
        ("beeagent_cloud_calls_total", ()): 6,
        ("beeagent_cloud_calls_saved_total", ()): 3,
        ("beeagent_cloud_model_seen_running_seconds_total", ()): 5400,
        ("beeagent_cloud_model_estimated_cost_dollars_total", ()): 6,
        ("beeagent_collected_pictures", ()): 12,
        ("beeagent_collected_bytes", ()): 3_500_000,
        ("beeagent_passages_total", (*front, ("direction", "in"), ("label", "bee"), ("place", "door"))): 9410,
        ("beeagent_passages_total", (*front, ("direction", "out"), ("label", "bee"), ("place", "door"))): 9466,
    }


def test_wake_time_is_unknown_when_active_or_by_brightness() -> None:
    now = Snapshot(
        device="hive-7",
        model="bees@12345678",
        problems={},
        uptime_s=1,
        camera=CameraStatus(name="front", frames_read=0, frames_skipped=0, frames_per_s=0),
        outbox=OutboxCounts(produced=0, delivered=0, dropped={}),
        last_delivery=None,
    )
    for asleep in (None, Asleep.between(MOMENT, None)):
        read = read_metrics(metrics_text(replace(now, asleep=asleep)))
        assert read["beeagent_asleep", ()] == (asleep is not None)
        assert read["beeagent_online", ()] == 1
        assert ("beeagent_wake_timestamp_seconds", ()) not in read


@given(
    now=st.builds(
        Snapshot,
        device=names,
        model=names,
        problems=st.dictionaries(names, names, max_size=3),
        uptime_s=seconds,
        camera=st.builds(
            CameraStatus,
            name=st.text(min_size=1, max_size=256),
            frames_read=counts,
            frames_skipped=counts,
            frames_per_s=seconds,
            frame_age_s=st.none() | seconds,
        ),
        outbox=st.builds(OutboxCounts, counts, counts, st.dictionaries(names, counts, max_size=3)),
        last_delivery=st.none() | st.datetimes(timezones=st.just(timezone.utc)),
    )
)
def test_any_snapshot_is_valid_exposition_format(now: Snapshot) -> None:
    read = read_metrics(metrics_text(now))
    assert read["beeagent_frames_total", (("camera", now.camera.name),)] == now.camera.frames_read
    assert {
        labels[0][1]: value for (name, labels), value in read.items() if name == "beeagent_results_dropped_total"
    } == now.outbox.dropped
    assert {labels[0][1] for name, labels in read if name == "beeagent_trouble"} == set(now.problems)
