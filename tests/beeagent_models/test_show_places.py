"""`beeagent show` draws tracks, places and the counts of the day."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
from beeagent.messages import traffic_message
from beeagent_models.results import read_result, read_traffic
from beeagent_models.show import run_show
from support.tiny_models import RED, painted


def _traffic(seq: int, into: int) -> str:
    begin = datetime(2026, 5, 4, 10, seq, tzinfo=timezone.utc)
    counts = {"in": 1, "out": 0, "today": {"in": into, "out": 3}, "total": {"in": 99, "out": 99}}
    message = traffic_message(
        event_id=uuid4(),
        device="hive",
        camera="front",
        seq=seq,
        begin=begin,
        end=begin + timedelta(minutes=1),
        day=begin.date(),
        frames_per_s=10,
        lines={"door": {"bee": counts}},
        zones={},
    )
    return message.to_json().decode()


def _detections() -> str:
    boxes = ((0.9, 0.5, 0.1, 17), (0.6, 0.7, 0.6, None))
    detections = [
        {"label": "bee", "confidence": confidence, "box": {"left": left, "top": top, "width": 0.2, "height": 0.2}}
        | ({} if track is None else {"track": track})
        for confidence, left, top, track in boxes
    ]
    frame = {"width": 640, "height": 640}
    return json.dumps({"schema": "beeagent.detections/1", "frame": frame, "detections": detections})


def test_tracks_places_and_counts_are_drawn(tmp_path: Path) -> None:
    messages, image, places = tmp_path / "agent.jsonl", tmp_path / "frame.png", tmp_path / "places.toml"
    messages.write_text("\n".join([_traffic(1, 40), "no message", _traffic(2, 41), _detections(), _traffic(3, 42)]))
    cv2.imwrite(str(image), painted((640, 640), {RED: (320, 64, 448, 192)}))
    places.write_text('[lines.door]\npoints = [[0.1, 0.5], [0.9, 0.5]]\nin = "up"\n')
    assert read_result(messages, line=4).tracks == (17, 0)
    traffic = read_traffic(messages, before=4)
    assert traffic is not None
    assert traffic.lines["door"]["bee"].today.in_ == 41
    assert read_traffic(messages, before=1) is None

    drawn = {}
    for name, given in (("plain", None), ("places", places)):
        out = tmp_path / f"{name}.png"
        assert run_show(image=image, result=messages, out=out, line=4, places=given) == f"{out}: 2 bee"
        drawn[name] = np.asarray(cv2.imread(str(out)))
    assert drawn["plain"].shape == (640, 640, 3)
    height = drawn["places"].shape[0]
    assert height > 640  # the counts are below the image
    assert (drawn["places"][640:] < 128).any()
    changed = (drawn["places"][:640] != drawn["plain"]).any(axis=2)
    assert changed[319:322, 70:570].all(axis=1).any()  # the line
    assert not changed[:60].any()
