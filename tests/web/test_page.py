"""The API of the page, through real sockets."""

import base64
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent.tracking import CountHistory, Interval, Totals, load_places
from beeagent.web.access import write_password
from support.page_client import DEADLINE, PageClient, PretendedAgent, page_of, serving

PLACES = {
    "lines": {"door": {"points": [[0.2, 0.55], [0.8, 0.55]], "in": "up"}},
    "zones": {"entrance": {"points": [[0.25, 0.3], [0.75, 0.3], [0.75, 0.5]]}},
    "masks": {},
}


def test_page_and_its_files_are_public_and_hold_no_data(stranger: PageClient) -> None:
    answer = stranger.ask("GET", "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        file = stranger.ask("GET", f"/static/{name}")
        assert (file.status, file.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    head = stranger.ask("HEAD", "/")
    assert (head.status, head.body) == (200, b"")


def test_every_response_has_the_security_headers(stranger: PageClient, editor: PageClient) -> None:
    answers = [
        stranger.ask("GET", "/"),
        stranger.ask("GET", "/api/state"),
        stranger.ask("PATCH", "/"),
        stranger.ask("GET", "/", headers={"Host": "evil.example"}),
        editor.ask("GET", "/api/state"),
    ]
    assert [answer.status for answer in answers] == [200, 401, 501, 403, 200]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_session_ends_with_sign_out(editor: PageClient) -> None:
    assert editor.ask("GET", "/api/session").json == {"role": "editor"}
    answer = editor.ask("DELETE", "/api/session")
    assert (answer.status, answer.body) == (204, b"")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert editor.ask("GET", "/api/session").status == 401


def test_cookie_cannot_be_read_by_scripts_or_sent_by_other_sites(stranger: PageClient) -> None:
    cookie = stranger.sign_in(token=stranger.token).headers["set-cookie"]
    assert cookie.startswith(f"beeagent-{stranger.port}=")  # two agents of a device do not overwrite each other's
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def test_live_frame_has_boxes_tracks_and_jpeg(agent: PretendedAgent, editor: PageClient) -> None:
    assert editor.ask("GET", "/api/state").json["aim"] is None  # from here on, frames are kept
    agent.show(0.9, 0.3, side=600)
    live = editor.ask("GET", "/api/live?after=0").json
    box = {"left": 0.25, "top": 0.25, "width": 0.25, "height": 0.5}
    assert live["detections"] == [{"label": "bee", "confidence": 0.9, "box": box, "track": 7}]
    assert live["below"] == [{"label": "bee", "confidence": 0.3, "box": box}]
    assert live["frame"] == {"width": 1200, "height": 600}
    assert live["counts"] == {"bee": 1}
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(live["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (480, 960, 3)


def test_live_waits_for_next_frame(agent: PretendedAgent, editor: PageClient) -> None:
    editor.ask("GET", "/api/state")
    agent.show(0.9)
    first = editor.ask("GET", "/api/live").json["id"]
    thread = threading.Timer(0.3, agent.show)
    thread.start()
    live = editor.ask("GET", f"/api/live?after={first}").json
    thread.join()
    assert live["id"] == first + 1
    assert live["counts"] == {}


@pytest.mark.parametrize("after", ["-1", "x", "9" * 20, "%00"])
def test_live_after_no_id_is_422(after: str, editor: PageClient) -> None:
    assert editor.ask("GET", f"/api/live?after={after}").status == 422


def test_state_has_health_aim_and_counts(agent: PretendedAgent, editor: PageClient) -> None:
    editor.ask("GET", "/api/state")
    agent.show(0.9, 0.6, 0.3)
    state = editor.ask("GET", "/api/state").json
    aim = state.pop("aim")
    assert state == {
        "role": "editor",
        "device": "secret-device",
        "camera": "front",
        "model": "bees@12345678",
        "state": "degraded",
        "reasons": ["camera: gone"],
        "frames_per_s": 9.9,
        "frame_age_s": None,
        "inference_ms": 12.3,
        "threshold": {"value": 0.5, "default": 0.5, "source": "model", "lowest": 0.25},
        "tracking": True,
        "places_file": True,
        "places_problem": None,
        "places": {"door": {"kind": "line", "labels": {"bee": {"in": 3, "out": 2}}}},
    }
    # Of frames of 128x64, a quarter of the width and half of the height.
    assert aim["object_px"] == {"median": 32.0, "input_median": 16.0}
    assert aim["mean_luma"] == 90
    assert aim["exposure_text"] == "good"


def test_places_that_cannot_be_written_say_so_before_anything_is_drawn(
    agent: PretendedAgent, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()  # no folder: not even root may write into it
    agent.places = tmp_path / "file" / "places.toml"
    page = page_of(agent)
    with serving(page, caplog) as token:
        client = PageClient(page.port)
        client.sign_in(token=token)
        problem = client.ask("GET", "/api/state").json["places_problem"]
    assert problem.startswith("places.toml is in a folder into which the agent may not write")
    assert str(tmp_path) not in problem


def test_places_are_drawn_saved_and_used_at_once(agent: PretendedAgent, editor: PageClient, tmp_path: Path) -> None:
    empty = editor.ask("GET", "/api/places")
    assert empty.json == {"lines": {}, "zones": {}, "masks": {}}
    saved = editor.ask("PUT", "/api/places", PLACES, headers={"If-Match": empty.headers["etag"]})
    assert (saved.status, saved.json) == (200, PLACES)
    assert load_places(tmp_path / "places.toml").model_dump(by_alias=True, mode="json") == PLACES
    assert agent.reloads == 1
    again = editor.ask("GET", "/api/places")
    assert (again.json, again.headers["etag"]) == (PLACES, saved.headers["etag"])


def test_stale_places_are_409_and_change_nothing(agent: PretendedAgent, editor: PageClient, tmp_path: Path) -> None:
    etag = editor.ask("GET", "/api/places").headers["etag"]
    (tmp_path / "places.toml").write_text("# edited by hand\n", encoding="utf-8")
    assert editor.ask("PUT", "/api/places", PLACES, headers={"If-Match": etag}).status == 409
    assert editor.ask("PUT", "/api/places", PLACES).status == 428
    assert editor.ask("PUT", "/api/places", PLACES, headers={"If-Match": "*"}).status == 409
    assert (tmp_path / "places.toml").read_text(encoding="utf-8") == "# edited by hand\n"
    assert agent.reloads == 0


@pytest.mark.parametrize(
    ("places", "error"),
    [
        ({"lines": {"door": {"points": [[0, 0.5], [1, 0.5]], "in": "left"}}}, "along the line"),
        ({"zones": {"../etc": {"points": [[0, 0], [1, 0], [1, 1]]}}}, "letters, digits"),
        ({"camera": {"address": "1"}}, "unknown"),
        ({"masks": {"a": {"points": [[0, 0], [1, 0], [2, 1]]}}}, "less than or equal to 1"),
    ],
)
def test_wrong_places_are_422_with_the_words_of_the_check(
    places: object, error: str, editor: PageClient, tmp_path: Path
) -> None:
    etag = editor.ask("GET", "/api/places").headers["etag"]
    answer = editor.ask("PUT", "/api/places", places, headers={"If-Match": etag})
    assert answer.status == 422
    assert error in answer.json["error"]
    assert not (tmp_path / "places.toml").exists()


def test_damaged_places_file_is_422(editor: PageClient, tmp_path: Path) -> None:
    (tmp_path / "places.toml").write_text("[lines", encoding="utf-8")
    answer = editor.ask("GET", "/api/places")
    assert answer.status == 422
    assert "is not TOML" in answer.json["error"]


def test_without_tracking_there_are_no_places(caplog: pytest.LogCaptureFixture) -> None:
    page = page_of(PretendedAgent())
    with serving(page, caplog) as token:
        client = PageClient(page.port)
        client.sign_in(token=token)
        assert client.ask("GET", "/api/places").status == 404
        assert client.ask("GET", "/api/state").json["places_file"] is False
        assert client.ask("GET", "/api/traffic").json["rows"] == []


def test_threshold_preview_counts_changes(agent: PretendedAgent, editor: PageClient) -> None:
    for _ in range(4):
        agent.show(0.9, 0.6, 0.4, 0.3)
    preview = editor.ask("POST", "/api/threshold/preview", {"value": 0.35}).json
    assert preview == {
        "value": 0.35,
        "frames": 4,
        "at_least": False,
        "now": {"per_frame": 2.0},
        "then": {"per_frame": 3.0, "added": 4, "removed": 0},
    }
    assert editor.ask("POST", "/api/threshold/preview", {"value": 0.7}).json["then"]["removed"] == 4
    assert editor.ask("POST", "/api/threshold/preview", {"value": 0.2}).status == 422
    assert agent.thresholds == []


def test_preview_of_regions_below_the_threshold_is_a_lower_limit(agent: PretendedAgent, editor: PageClient) -> None:
    agent.partial = True
    agent.show(0.9, 0.6, 0.4, 0.3)
    previews = {value: editor.ask("POST", "/api/threshold/preview", {"value": value}).json for value in (0.35, 0.7)}
    assert (previews[0.35]["then"]["added"], previews[0.35]["at_least"]) == (1, True)
    assert (previews[0.7]["then"]["removed"], previews[0.7]["at_least"]) == (1, False)


def test_threshold_is_set_and_unset(agent: PretendedAgent, editor: PageClient) -> None:
    assert editor.ask("PUT", "/api/threshold", {"value": 0.4}).json["value"] == 0.5  # the pretended agent's
    editor.ask("PUT", "/api/threshold", {"value": None})
    assert agent.thresholds == [0.4, None]


@pytest.mark.parametrize("body", [{}, {"value": "0.5"}, {"value": True}, {"value": 7}, {"value": 0}, []])
def test_wrong_threshold_is_422(body: object, agent: PretendedAgent, editor: PageClient) -> None:
    assert editor.ask("PUT", "/api/threshold", body).status == 422
    assert agent.thresholds == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"value": NaN}', b"[" * 30_000, b'{"value": 1e999}'])
def test_body_without_json_is_refused(raw: bytes, agent: PretendedAgent, editor: PageClient) -> None:
    assert editor.ask("PUT", "/api/threshold", raw=raw).status in {400, 422}
    assert agent.thresholds == []


def test_traffic_comes_from_the_history(
    agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    with closing(CountHistory(tmp_path / "counts.sqlite3")) as history:
        for minutes, count in ((30 * 60, 9), (62, 1), (61, 2), (1, 4)):
            begin = now - timedelta(minutes=minutes)
            counts = {("door", "bee", "in"): count}
            history.add([Interval(begin, begin + timedelta(minutes=1), 600, counts, {})], Totals())
        agent.history = tmp_path / "counts.sqlite3"
        page = page_of(agent)
        with serving(page, caplog) as token:
            client = PageClient(page.port)
            client.sign_in(token=token)
            day, hours = client.ask("GET", "/api/traffic").json, client.ask("GET", "/api/traffic?hours=2").json
            assert (day["step_s"], hours["step_s"]) == (600, 60)
            assert sum(row["in"] for row in day["rows"]) == 7
            assert [row["in"] for row in hours["rows"]] == [1, 2, 4]
            assert hours["rows"][0]["place"] == "door"
            assert client.ask("GET", "/api/traffic?hours=0").status == 422
            agent.history.unlink()
            with sqlite3.connect(agent.history) as other:
                other.execute("CREATE TABLE counts (other)")
            assert client.ask("GET", "/api/traffic").status == 500  # and the page goes on
            assert client.ask("GET", "/api/state").status == 200


def test_metrics_need_a_session(stranger: PageClient, editor: PageClient) -> None:
    assert stranger.ask("GET", "/healthz").status == 401
    assert editor.ask("GET", "/healthz").body == b"healthy"
    assert editor.ask("GET", "/nothing").status == 404


def test_viewer_may_look_and_change_nothing(
    agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path / "passwords"
    write_password(passwords, "viewer", "look at bees")
    page = page_of(agent, password_file=passwords)
    with serving(page, caplog) as token:
        assert token  # for the owner, who has no password
        viewer = PageClient(page.port)
        assert viewer.sign_in(password="look at the bees").status == 401
        assert viewer.sign_in(password="look at bees").json == {"role": "viewer"}
        etag = viewer.ask("GET", "/api/places").headers["etag"]
        assert viewer.ask("PUT", "/api/places", PLACES, headers={"If-Match": etag}).status == 403
        assert viewer.ask("PUT", "/api/threshold", {"value": 0.4}).status == 403
        assert viewer.ask("GET", "/api/state").json["role"] == "viewer"
        assert viewer.ask("DELETE", "/api/session").status == 204
    assert agent.thresholds == []
    assert not (tmp_path / "places.toml").exists()


def test_password_of_the_editor_replaces_the_link(
    agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path / "passwords"
    write_password(passwords, "editor", "old password")
    page = page_of(agent, password_file=passwords)
    with serving(page, caplog) as token:
        assert token == ""
        editor = PageClient(page.port)
        assert editor.sign_in(password="old password").json == {"role": "editor"}
        write_password(passwords, "editor", "new password")
        page.renew()
        assert PageClient(page.port).sign_in(password="old password").status == 401
        assert PageClient(page.port).sign_in(password="new password").status == 200
        passwords.chmod(0o644)
        page.renew()
        assert "stay in use" in caplog.text
        assert PageClient(page.port).sign_in(password="new password").status == 200


def test_renewed_link_replaces_the_one_before(agent: PretendedAgent, caplog: pytest.LogCaptureFixture) -> None:
    page = page_of(agent)
    with serving(page, caplog) as first:
        with caplog.at_level(logging.INFO):
            page.renew()
        second = caplog.messages[-1].partition("#token=")[2].split()[0]
        assert PageClient(page.port).sign_in(token=first).status == 401
        assert PageClient(page.port).sign_in(token=second).status == 200
        assert PageClient(page.port).sign_in(token=second).status == 401


def test_no_frame_is_kept_without_a_viewer(agent: PretendedAgent) -> None:
    agent.show(0.9)
    assert agent.live.newest() is None  # which is the first look
    agent.show(0.9)
    assert agent.live.newest() is not None


def test_frame_is_encoded_once_for_all_and_at_most_five_times_a_second(agent: PretendedAgent) -> None:
    agent.live.newest()
    agent.show(0.9)
    began = time.monotonic()
    first = agent.live.wait(after=0, timeout=DEADLINE)
    assert first is not None
    assert agent.live.wait(after=0, timeout=DEADLINE) is first
    agent.show(0.9)
    second = agent.live.wait(after=1, timeout=DEADLINE)
    assert time.monotonic() - began >= 0.2
    assert second is not None
    assert agent.live.wait(after=1, timeout=DEADLINE) is second


def test_waiting_viewers_all_get_the_same_frame(agent: PretendedAgent) -> None:
    agent.live.newest()
    with ThreadPoolExecutor(10) as pool:
        viewers = [pool.submit(agent.live.wait, after=0, timeout=DEADLINE) for _ in range(10)]
        agent.show(0.9)
        assert len({id(viewer.result()) for viewer in viewers}) == 1


def test_closed_live_view_ends_waiting_requests(agent: PretendedAgent) -> None:
    with ThreadPoolExecutor(1) as pool:
        viewer = pool.submit(agent.live.wait, after=0, timeout=10 * DEADLINE)
        agent.live.close()
        assert viewer.result() is None


def test_settings_that_cannot_be_used_are_input_errors(agent: PretendedAgent, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="page_key_file is set"):
        page_of(agent, key_file=tmp_path / "key.pem")
    with pytest.raises(InputError, match=r"page_certificate_file .* cannot be used"):
        page_of(agent, certificate_file=tmp_path / "missing.pem")
    with pytest.raises(InputError, match=r"page_password_file .* cannot be read"):
        page_of(agent, password_file=tmp_path / "missing")
    with pytest.raises(InputError, match=r"page_hosts has 'http://a'"):
        page_of(agent, hosts="http://a")
    with pytest.raises(InputError, match=r"page_host 203.0.113.1 with page_port"):
        page_of(agent, host="203.0.113.1")
