"""Check that a real Home Assistant shows the right values, while it, the broker and the agent are restarted.

    python -m venv ha                          # Python 3.13, for Home Assistant 2025.4; about 800 MB
    ha/bin/pip install homeassistant==2025.4.4 home-assistant-frontend paho-mqtt numpy PyTurboJPEG ha-ffmpeg
    HASS=ha/bin/hass python bench/home_assistant.py --outage 300

A synthetic camera shows one bee after the other that crosses a line downwards, which is in. Since the history has two
weeks with nearly none, this is unusual traffic, an event. Another camera falls asleep by its schedule. After each step,
the states in Home Assistant are compared with those that the agent has published. At the end, its statistics are read
from its database: the counts of `in` must never decrease, and their sum must be the number of counted bees, without a
reset. The statistics of 5 minutes are checked, and those of an hour if one has ended meanwhile. The exit code is 1 on a
failure.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
from beeagent.messages import rfc3339
from beeagent.tracking import CountHistory, Interval, Totals
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.beeagent_process import environment, tiny_model
from support.mosquitto import find_program, free_port
from support.tiny_models import RED, painted

_STEP_S = 180.0  # within which each state must be right
_CELL, _CELLS, _PAUSE = 40, 8, 10
_FRAMES_PER_S = 10
_PREFIX = "sensor.hive_7_front_"
_USER, _PASSWORD = "bench", "bench-of-beeagent"

_CONFIGURATION = """\
homeassistant: {{name: bench, unit_system: metric, time_zone: UTC, latitude: 0, longitude: 0}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
api:
recorder: {{commit_interval: 1}}
sensor: []
logger: {{default: warning}}
"""
_PLACES = '[lines.door]\npoints = [[0.0, 0.5], [1.0, 0.5]]\nin = "down"\n'


class _Scene(BaseHTTPRequestHandler):
    """Motion JPEG of one bee after the other moving down, with a pause after each."""

    frames: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while True:
            for jpeg in self.frames:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                try:
                    self.wfile.write(head + jpeg + b"\r\n")
                except OSError:
                    return
                time.sleep(1 / _FRAMES_PER_S)

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


def _draw() -> list[bytes]:
    side = _CELL * _CELLS
    frames = []
    for row in [*range(_CELLS), *[None] * _PAUSE]:
        frame = painted((side, side), {})
        if row is not None:
            frame[row * _CELL : (row + 1) * _CELL, 2 * _CELL : 3 * _CELL] = RED
        elif len(frames) % 2:  # a camera with identical frames counts as frozen
            frame[-1, -1] = 250
        frames.append(cv2.imencode(".jpg", frame)[1].tobytes())
    return frames


def _count_before(folder: Path) -> None:
    """Store two weeks of nearly no traffic, up to now."""
    state = folder / "state" / "beeagent"
    state.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    begin = now - timedelta(days=14, hours=1)
    minutes = (begin + timedelta(minutes=index) for index in range(14 * 1440 + 61))
    history = CountHistory(state / "hive-7-front.counts.sqlite3")
    with closing(history):
        counts = {("door", "red", "in"): 1}
        history.add(
            [Interval(at, at + timedelta(minutes=1), 60 * _FRAMES_PER_S, counts, {}) for at in minutes], Totals()
        )


class Bench:
    """The processes, each of which can be stopped and started again."""

    def __init__(self, folder: Path, hass: str, camera: str) -> None:
        self.folder, self.hass, self.camera = folder, hass, camera
        self.port, self.web = free_port(), free_port()
        self.failures: list[str] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.token = ""
        self.active = ""
        self.published: dict[str, bytes] = {}
        (folder / "places.toml").write_text(_PLACES)
        os.utime(folder / "places.toml", (0, 0))  # or only later days would be compared
        _count_before(folder)
        (folder / "mosquitto.conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        storage = folder / "ha" / ".storage"
        storage.mkdir(parents=True)
        (folder / "ha" / "configuration.yaml").write_text(_CONFIGURATION.format(port=self.web))
        entry = {
            "created_at": "2026-01-01T00:00:00+00:00", "modified_at": "2026-01-01T00:00:00+00:00",
            "data": {"broker": "127.0.0.1", "port": self.port, "discovery": True, "discovery_prefix": "homeassistant"},
            "disabled_by": None, "discovery_keys": {}, "domain": "mqtt", "entry_id": "01JTESTTESTTESTTESTTESTTEST",
            "minor_version": 2, "options": {}, "pref_disable_new_entities": False, "pref_disable_polling": False,
            "source": "user", "subentries": [], "title": "bench", "unique_id": None, "version": 1,
        }  # fmt: skip
        entries = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
        (storage / "core.config_entries").write_text(json.dumps(entries))

    def start(self, name: str) -> None:
        """Start `broker`, `agent`, `side` or `sleepy` (agents of other cameras of the device), or `hass`."""
        agent = [
            sys.executable, "-m", "beeagent", "--device", "hive-7", "--threads", "1",
            "--broker", f"mqtt://127.0.0.1:{self.port}", "--home-assistant", "--publish", "always", *self.model(),
        ]  # fmt: skip
        commands = {
            "broker": [find_program("mosquitto"), "-c", str(self.folder / "mosquitto.conf")],
            "agent": [
                *agent, "--camera", self.camera, "--camera-name", "front", "--places", str(self.folder / "places.toml")
            ],
            "side": [*agent, "--camera", "synthetic:160x120@5", "--camera-name", "side"],
            "sleepy": [
                *agent, "--camera", "synthetic:160x120@5", "--camera-name", "sleepy", "--active", self.active,
            ],
            "hass": [self.hass, "-c", str(self.folder / "ha"), "--skip-pip"],
        }  # fmt: skip
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own commands, and the caller's
                commands[name], stdout=log, stderr=log, env=environment(self.folder)
            )

    def model(self) -> list[str]:
        """Return the options of the model."""
        return [str(option) for option in tiny_model(self.folder)]

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop a process, if it runs."""
        process = self.processes.pop(name, None)
        if process is not None and process.poll() is None:
            process.send_signal(how)
            process.wait(60)

    def listen(self) -> None:
        """Keep the newest message of each topic, across restarts of the broker."""
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench")
        client.on_connect = lambda it, *_: it.subscribe("beeagent/#")
        client.on_message = lambda *args: self.published.__setitem__(args[2].topic, bytes(args[2].payload))
        self.client = client
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()

    def authenticate(self) -> None:
        """Wait until Home Assistant has started, and get a token."""
        self.wait("Home Assistant has started", self._log_in, timeout=600)  # on a busy machine

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the entities of the agents by id."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=20)
        with closing(connection):
            connection.request("GET", "/api/states", headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            if response.status == HTTPStatus.UNAUTHORIZED:  # a token is valid for half an hour
                self._log_in()
                return self.states()
            answer = json.loads(response.read())
        return {one["entity_id"]: one for one in answer if "hive_7" in one["entity_id"]}

    def state(self) -> dict[str, Any]:
        """Return the newest state message."""
        message: dict[str, Any] = json.loads(self.published["beeagent/hive-7/front/state"])
        return message

    def wait(self, what: str, condition: Callable[[], bool], *, timeout: float = _STEP_S) -> None:
        """Wait until a condition holds, and print the time it took."""
        began = time.monotonic()
        error: Exception | None = None
        while time.monotonic() - began < timeout:
            try:
                if condition():
                    print(f"ok    {what} ({time.monotonic() - began:.0f} s)", flush=True)
                    return
            except Exception as failed:  # noqa: BLE001 - not ready yet
                error = failed
            time.sleep(0.5)
        self.failures.append(what)
        print(f"WRONG {what}: not within {timeout:.0f} s {error or ''}", flush=True)

    def right(self) -> bool:
        """Return whether the values in Home Assistant match the newest state message."""
        found, state = self.states(), self.state()
        door = state["lines"]["door"]["red"]
        wanted = {
            "reds": state["objects"]["red"], "door_in": door["total"]["in"], "door_out": door["total"]["out"],
            "door_away": door["away"], "door_in_per_minute": door["per_minute"]["in"],
        }  # fmt: skip
        return (
            all(float(found[_PREFIX + name]["state"]) == value for name, value in wanted.items())
            and found["binary_sensor.hive_7_front_connected"]["state"] == "on"
            and found["binary_sensor.hive_7_front_camera_problem"]["state"] == "off"
        )

    def event(self) -> tuple[str, dict[str, Any]]:
        """Return when Home Assistant got the last event of unusual traffic, and what it is."""
        entity = self.states()["event.hive_7_front_unusual_traffic"]
        return entity["state"], entity["attributes"]

    def asleep(self, *, asleep: bool) -> bool:
        """Return whether the sleepy camera is shown as asleep, or as awake."""
        found = {name: one["state"] for name, one in self.states().items() if "hive_7_sleepy_" in name}
        return (
            found["binary_sensor.hive_7_sleepy_asleep"] == ("on" if asleep else "off")
            and found["binary_sensor.hive_7_sleepy_connected"] == "on"
            and found["binary_sensor.hive_7_sleepy_camera_problem"] == "off"
            and (found["sensor.hive_7_sleepy_reds"] == "unavailable") == asleep
        )

    def unavailable(self, camera: str = "front") -> bool:
        """Return whether all values of a camera are unavailable, and its agent is off."""
        found = {name: one["state"] for name, one in self.states().items() if f"hive_7_{camera}_" in name}
        connected = found.pop(f"binary_sensor.hive_7_{camera}_connected")
        return connected == "off" and set(found.values()) == {"unavailable"}

    def _log_in(self) -> bool:
        client_id = f"http://127.0.0.1:{self.web}/"
        flow = self._post("/auth/login_flow", {
            "client_id": client_id, "handler": ["homeassistant", None], "redirect_uri": client_id,
        })  # fmt: skip
        done = self._post(f"/auth/login_flow/{flow['flow_id']}", {
            "client_id": client_id, "username": _USER, "password": _PASSWORD,
        })  # fmt: skip
        form = {"client_id": client_id, "grant_type": "authorization_code", "code": done["result"]}
        self.token = self._post("/auth/token", urllib.parse.urlencode(form))["access_token"]
        return True

    def _post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=20)
        form = isinstance(body, str)
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        with closing(connection):
            connection.request(
                "POST", path, body if isinstance(body, str) else json.dumps(body), {"Content-Type": kind}
            )
            return json.loads(connection.getresponse().read())


def judge_statistics(bench: Bench) -> None:
    """Compare the statistics in Home Assistant's database with the counts."""
    file = bench.folder / "ha" / "home-assistant_v2.db"
    query = (
        "SELECT s.state, s.sum FROM {table} s JOIN statistics_meta m ON m.id = s.metadata_id "
        "WHERE m.statistic_id = ? ORDER BY s.start_ts"
    )
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        for table in ("statistics_short_term", "statistics"):
            rows = database.execute(query.format(table=table), (f"{_PREFIX}door_in",)).fetchall()
            states, sums = [row[0] for row in rows], [row[1] for row in rows]
            print(f"      {table} of in: {len(rows)} rows, states {states}, sums {sums}", flush=True)
            if rows and (states != sorted(states) or sums[-1] - sums[0] != states[-1] - states[0]):
                bench.failures.append(f"{table}: the sum is not what was counted")
            if not rows and table == "statistics_short_term":
                bench.failures.append(f"{table}: nothing")
        history = [
            float(row[0])
            for row in database.execute(
                "SELECT s.state FROM states s JOIN states_meta m ON m.metadata_id = s.metadata_id "
                "WHERE m.entity_id = ? AND s.state NOT IN ('unknown', 'unavailable') ORDER BY s.last_updated_ts",
                (f"{_PREFIX}door_in",),
            )
        ]
    print(f"      states of in: {len(history)}, from {history[0]:g} to {history[-1]:g}", flush=True)
    if history != sorted(history):
        bench.failures.append("a count fell")


def judge_late_event(bench: Bench) -> None:
    """Publish events as after an outage: one of an hour ago, which is not to be shown, and one of now, which is."""
    topic = "beeagent/hive-7/front/events"
    before = bench.event()[0]
    for age, label in ((timedelta(hours=1), "late"), (timedelta(), "now")):
        message = json.loads(bench.published[topic])
        message |= {
            "to": rfc3339(datetime.now(timezone.utc) - age), "event_id": str(uuid.uuid4()), "label": label,
            "event_type": "unusually_few_out",
        }  # fmt: skip
        bench.client.publish(topic, json.dumps(message), qos=1).wait_for_publish(10)
    seen: set[str] = set()

    def shown() -> bool:
        at, attributes = bench.event()
        seen.add(attributes["label"])
        return at != before and attributes["label"] == "now"

    bench.wait("an event of now is shown", shown)
    if "late" in seen:
        bench.failures.append("an event of an hour ago was shown")


def judge_sleep(bench: Bench) -> None:
    """Let another camera fall asleep by its schedule, restart its agent, and let it wake."""
    # Between two clock times; the camera sleeps from the next full minute but one, and wakes two minutes later.
    sleeps = (datetime.now().astimezone() + timedelta(minutes=2)).replace(second=0)
    wakes = sleeps + timedelta(minutes=2)
    bench.active = f"{wakes:%H:%M}..{sleeps:%H:%M}"
    bench.start("sleepy")
    bench.wait("a camera that is awake", lambda: bench.asleep(asleep=False))
    bench.wait("it is asleep", lambda: bench.asleep(asleep=True))
    print(f"      asleep for {datetime.now().astimezone() - sleeps}", flush=True)
    bench.end("sleepy", signal.SIGKILL)
    bench.start("sleepy")
    bench.wait("it is asleep after a restart of its agent", lambda: bench.asleep(asleep=True))
    bench.wait("it is awake again", lambda: bench.asleep(asleep=False))
    bench.end("sleepy")


def judge_removal(bench: Bench) -> None:
    """Remove the cameras from Home Assistant, as their user does."""
    bench.end("agent")
    remove = [
        sys.executable, "-m", "beeagent", "home-assistant", "remove", "--device", "hive-7",
        "--broker", f"mqtt://127.0.0.1:{bench.port}", "--camera-name",
    ]  # fmt: skip
    for camera in ("front", "side", "sleepy"):
        subprocess.run([*remove, camera], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    bench.wait("no entity is left after home-assistant remove", lambda: not bench.states())


def run(bench: Bench, *, outage_s: float, settle_s: float) -> None:
    """Start everything, restart each part, and check the values."""
    command = [bench.hass, "--script", "auth", "-c", str(bench.folder / "ha"), "add", _USER, _PASSWORD]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
    for name in ("broker", "agent", "hass"):
        bench.start(name)
        time.sleep(2)
    bench.listen()
    bench.authenticate()
    bench.wait("a bee was counted", lambda: bench.state()["lines"]["door"]["red"]["total"]["in"] > 0, timeout=180)
    bench.wait("all entities are right", bench.right)
    for name, one in sorted(bench.states().items()):
        attributes = one["attributes"]
        unit, kind = attributes.get("unit_of_measurement", ""), attributes.get("state_class", "")
        print(f"      {name:52} {one['state']:>34} {unit:10} {kind}", flush=True)

    bench.wait(
        "an event of unusual traffic",
        lambda: bench.event()[1]["event_type"] == "unusually_many_in" and bench.event()[1]["place"] == "door",
    )
    judge_late_event(bench)

    judge_sleep(bench)

    bench.end("hass")
    bench.start("hass")
    bench.authenticate()
    bench.wait("right after a restart of Home Assistant", bench.right)

    bench.end("broker", signal.SIGKILL)
    bench.start("broker")
    bench.wait("right after a restart of the broker, which has kept nothing", bench.right)

    before = bench.state()["lines"]["door"]["red"]["total"]["in"]
    bench.end("agent", signal.SIGKILL)
    bench.wait("unavailable after the agent was killed", bench.unavailable)
    bench.start("agent")
    bench.wait("right after a restart of the agent", bench.right)
    if bench.state()["lines"]["door"]["red"]["total"]["in"] < before:
        bench.failures.append("a count fell with the restart of the agent")

    bench.start("side")
    bench.wait(
        "a second camera of the device is there",
        lambda: bench.states()["binary_sensor.hive_7_side_connected"]["state"] == "on" and bench.right(),
    )
    bench.end("side", signal.SIGKILL)
    bench.wait("its death leaves the first one right", lambda: bench.unavailable("side") and bench.right())

    bench.end("broker", signal.SIGKILL)
    before = bench.state()["lines"]["door"]["red"]["total"]["in"]
    print(f"      no broker for {outage_s:.0f} s", flush=True)
    time.sleep(outage_s)
    bench.published.clear()
    bench.start("broker")
    bench.wait("right after the outage, while the backlog is sent", bench.right)
    waiting, after = bench.state()["outbox"]["waiting"], bench.state()["lines"]["door"]["red"]["total"]["in"]
    print(f"      {waiting} results waited then; in went from {before} to {after} in the outage", flush=True)
    if not (waiting > 0 and after > before):
        bench.failures.append("the outage had no backlog, or nothing was counted in it")
    bench.wait(
        "right when the backlog is sent",
        lambda: bench.state()["outbox"]["waiting"] < 20 and bench.right(),
        timeout=_STEP_S + waiting / 20,  # the agent sends 50 of them a second
    )
    print(f"      waiting {settle_s:.0f} s for statistics", flush=True)
    time.sleep(settle_s)
    judge_statistics(bench)

    judge_removal(bench)


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outage", type=float, default=300.0, help="seconds without broker")
    parser.add_argument("--settle", type=float, default=330.0, help="seconds at the end for the statistics")
    parser.add_argument("--keep", type=Path, help="folder for logs and the database; default: deleted")
    arguments = parser.parse_args()
    hass = os.environ.get("HASS")
    if hass is None or shutil.which(hass) is None:
        print("no Home Assistant: the environment variable HASS is to be the path of its command, hass")
        return 2
    _Scene.frames = _draw()
    with ExitStack() as opened:
        folder = arguments.keep or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="beeagent-ha-")))
        folder.mkdir(parents=True, exist_ok=True)
        server = _Server(("127.0.0.1", 0), _Scene)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bench = Bench(folder, hass, f"http://127.0.0.1:{server.server_port}/stream")
        try:
            run(bench, outage_s=arguments.outage, settle_s=arguments.settle)
        finally:
            for name in list(bench.processes):
                bench.end(name, signal.SIGKILL)
    for failure in bench.failures:
        print(f"WRONG {failure}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
