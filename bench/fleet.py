"""Measure many senders at one broker: `python bench/fleet.py --senders 10 100 1000`.

A sender is an agent without camera and model: its outbox on disk, its sender, its MQTT client, with the default
settings. Up to `--per-process` senders share a process, each with its own three threads and SQLite file. They share the
interpreter and its lock: an agent on its own machine is faster than this, never slower. A real mosquitto runs on the
loopback interface, and a subscriber with a persistent session checks every result.

For each number of senders:

1. steady: `--rate` results per second and sender, for `--seconds`; if fewer arrive, the outages are measured with 0.6
   of the rate that was reached;
2. restart: the broker is killed (SIGKILL) and started again 2 s later;
3. backlog: it is killed, `--backlog` seconds of results are put into each outbox, and it is started again after at
   least `--outage` seconds. Live results continue.

Then the senders stop, and every result must have arrived. The exit code is 1 if a result was lost or out of order, or
a sender was not back within 60 s. Backlog and live results of a sender are each in order (docs/outbox.md).
"""

import argparse
import getpass
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

from beeagent.messages import DetectionsMessage
from beeagent.mqtt import MqttPublisher
from beeagent.outbox import Outbox, Sender
from beeagent.runtime.factory import build_outbox, build_publisher
from beeagent.settings import load_settings

_BACK_S = 60.0  # goal for the last sender to be back
_RESTART_S = 2.0
_SETTLED = 50  # results per sender; fewer are no backlog, see `drain_rate`
_ENOUGH = 0.98  # share of the requested results
_SPARE = 0.6  # share of the reached rate, if it is below the requested one; the rest is for the backlog
_SAMPLES = 1_000_000  # approximate number of ages that are kept

# A frame with three bees, as the agent publishes it.
_MESSAGE = (
    '{{"schema":"beeagent.detections/1","event_id":"{event_id}","device":"{device}","camera":"front","seq":{seq},'
    '"captured_at":"{at}","frame":{{"width":1280,"height":720}},"model":"bees-lite0@3f9c21d0","decided_by":"edge",'
    '"detections":[{boxes}],"counts":{{"bee":3}},"latency_ms":{{"inference":18.4,"total":39.0}}}}'
)
_BOX = '{"label":"bee","confidence":0.9714,"box":{"left":0.3491,"top":0.3612,"width":0.1747,"height":0.2327}}'


def main() -> int:
    """Measure each number of senders, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rate", type=float, default=5.0, help="results per second of each sender")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the steady state")
    parser.add_argument("--backlog", type=float, default=3600.0, help="seconds of results that wait for the broker")
    parser.add_argument("--most-waiting", type=int, default=1_000_000, help="maximum number of results in all backlogs")
    parser.add_argument("--outage", type=float, default=90.0, help="minimum number of seconds without broker")
    parser.add_argument("--drain-limit", type=float, default=900.0, help="maximum number of seconds for the backlog")
    parser.add_argument("--per-process", type=int, default=125)
    parser.add_argument("--folder", type=Path, help="folder for the outboxes, on the disk to measure")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    failed = False
    for senders in args.senders:
        figures = _measure(senders, args)
        print(json.dumps(figures) if args.json else _table(figures), flush=True)
        failed = failed or bool(figures["failures"])
    return int(failed)


# The broker.


class _Broker:
    """A mosquitto that queues messages for the subscriber without limits."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise SystemExit("mosquitto is not installed (Debian: apt-get install mosquitto)")
        self.port = _free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"user {getpass.getuser()}\nlistener {self.port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n"
            "persistence true\n"
            f"persistence_location {folder}/\nautosave_interval 0\nmax_inflight_messages 0\nmax_queued_messages 0\n",
            encoding="ascii",
        )
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._past_cpu = 0.0

    def start(self) -> float:
        """Start, wait until it listens, and return the start time: a sender may connect before this returns."""
        began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - found above
            [self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return began
            if self._process.poll() is not None:
                raise SystemExit(f"mosquitto ended with {self._process.returncode}")
            time.sleep(0.01)

    def save(self) -> None:
        """Save the sessions, so that the subscriber's session survives a kill."""
        assert self._process is not None  # noqa: S101
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)

    def kill(self) -> None:
        """Kill it, to simulate a power cut."""
        if self._process is not None:
            self._past_cpu = self.cpu
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        if self._process is None:
            return self._past_cpu
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return self._past_cpu + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    """Return a port outside the ephemeral range: a client that tries a port of that range may connect to itself."""
    while True:
        port = random.SystemRandom().randrange(16384, 32768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# The subscriber, in its own process. A plain socket, because paho would take more processor time than mosquitto.


class _Subscriber:
    """Counts the results of each sender, and keeps the ages of some."""

    def __init__(self, port: int, senders: int, every: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._every = every
        self._seen = [bytearray() for _ in range(senders)]
        self._newest = [0] * senders  # live results come in order,
        self._oldest = [0] * senders  # and so does the backlog
        self.received = self.copies = self.disorder = 0
        self._captured, self._ages = array("d"), array("d")

    def serve(self, pipe: Connection) -> None:
        """Receive results and answer requests from the pipe, until the pipe is closed."""
        while True:
            if self._socket is None:
                self._connect()
            waiting: list[Any] = [pipe, *([self._socket] if self._socket else [])]
            ready = wait(waiting, timeout=0.01 if self._socket is None else None)
            if self._socket in ready:
                self._receive()
            if pipe in ready:
                try:
                    name, *arguments = pipe.recv()
                except EOFError:
                    return
                pipe.send(getattr(self, name)(*arguments))

    def counts(self) -> dict[str, float]:
        """Return the numbers of results so far, and the processor time."""
        return {
            "received": self.received, "copies": self.copies, "disorder": self.disorder,
            "connected": self._socket is not None, "cpu": time.process_time(),
        }  # fmt: skip

    def ages(self, since: float, until: float) -> dict[str, float]:
        """Return percentiles of the ages on arrival, for results captured between two times."""
        chosen = sorted(age for at, age in zip(self._captured, self._ages, strict=True) if since <= at < until)
        if len(chosen) < 2:
            return {}
        cuts = statistics.quantiles(chosen, n=100, method="inclusive")
        return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": chosen[-1]}

    def missing(self, last: list[int]) -> int:
        """Return the number of missing results, up to the last one of each sender."""
        return sum(count - sum(seen[1 : count + 1]) for count, seen in zip(last, self._seen, strict=True))

    def _connect(self) -> None:
        # MQTT 3.1.1: CONNECT with client id "meter", no clean session, no keep-alive; SUBSCRIBE with QoS 1.
        topic = b"beeagent/+/front/detections"
        with suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_000_000)
            connection.sendall(b"\x10\x11\x00\x04MQTT\x04\x00\x00\x00\x00\x05meter")
            connection.sendall(bytes((0x82, len(topic) + 5, 0, 1, 0, len(topic))) + topic + b"\x01")
            self._socket, self._buffer = connection, b""

    def _receive(self) -> None:
        assert self._socket is not None  # noqa: S101
        try:
            data = self._socket.recv(1 << 20)
            if data:
                self._socket.sendall(self._take(self._buffer + data))
        except OSError:
            data = b""
        if not data:
            self._socket.close()
            self._socket = None

    def _take(self, data: bytes) -> bytes:
        """Process the complete packets, and return their PUBACKs."""
        now, at, acks = time.time(), 0, []
        while len(data) - at >= 5:
            length, shift, start = 0, 0, at + 1
            while True:
                byte = data[start]
                length |= (byte & 127) << shift
                start, shift = start + 1, shift + 7
                if byte < 128:
                    break
            if len(data) < start + length:
                break
            if data[at] >> 4 == 3:
                payload = start + 2 + int.from_bytes(data[start : start + 2], "big")
                if data[at] & 6:
                    acks.append(b"\x40\x02" + data[payload : payload + 2])
                    payload += 2
                self._note(int(data[start + 16 : start + 20]), data[payload : start + length], now)
            at = start + length
        self._buffer = data[at:]
        return b"".join(acks)

    def _note(self, sender: int, payload: bytes, now: float) -> None:
        place = payload.index(b'"seq":') + 6
        seq = int(payload[place : payload.index(b",", place)])
        seen = self._seen[sender]
        if len(seen) <= seq:
            seen.extend(bytes(seq + 1000 - len(seen)))
        if seen[seq]:
            self.copies += 1
            return
        seen[seq] = 1
        self.received += 1
        if seq > self._newest[sender]:
            self._newest[sender] = seq
        elif seq > self._oldest[sender]:
            self._oldest[sender] = seq
        else:
            self.disorder += 1
        if seq % self._every == 0:
            place = payload.index(b'"captured_at":"') + 15
            captured = datetime.fromisoformat(payload[place : place + 26].decode() + "+00:00").timestamp()
            self._captured.append(captured)
            self._ages.append(now - captured)


def _run_subscriber(pipe: Connection, port: int, senders: int, every: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Subscriber(port, senders, every).serve(pipe)


# The senders, many in one process.


class _Camera:
    """One sender and the source of its results."""

    def __init__(self, number: int, port: int, folder: Path) -> None:
        self._device = f"hive-{number:04}"
        settings = load_settings({"broker": f"mqtt://127.0.0.1:{port}", "device": self._device}, config=None)
        self.outbox: Outbox = build_outbox(settings, folder / f"{self._device}.sqlite")
        publisher = build_publisher(settings, broker=None, ipc=None, last_will=lambda: b'{"state":"offline"}')
        assert isinstance(publisher, MqttPublisher)  # noqa: S101
        self.publisher = publisher
        self.sender = Sender(outbox=self.outbox, publisher=publisher, drain_rate=settings.outbox.drain_rate)
        self.connects: list[float] = []
        publisher.listen(self._note_state)
        publisher.report(b'{"state":"online"}')
        publisher.start()
        self.sender.start()

    @property
    def last(self) -> int:
        return self.outbox.next_number("front") - 1

    def put(self, captured: datetime) -> None:
        message = _MESSAGE.format(
            event_id=uuid4(), device=self._device, seq=self.outbox.next_number("front"), boxes=",".join([_BOX] * 3),
            at=captured.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        )  # fmt: skip
        topic = f"beeagent/{self._device}/front/detections"
        self.outbox.put(stream="front", topic=topic, payload=message.encode())

    def close(self) -> None:
        self.publisher.stop(farewell=None, timeout=2.0)
        self.sender.stop()
        self.outbox.close()

    def _note_state(self) -> None:
        if self.publisher.state.connected:
            self.connects.append(time.monotonic())


class _Process:
    """The senders of one process, and their clock."""

    def __init__(self, numbers: Iterable[int], port: int, folder: Path, rate: float) -> None:
        self._cameras = [_Camera(number, port, folder) for number in numbers]
        self._interval = 1 / (rate * len(self._cameras))
        self._next = 0.0
        self._turn = 0
        self._feeding = False
        self._late = 0.0
        self._skipped = 0

    def serve(self, pipe: Connection) -> None:
        """Feed the senders and execute requests from the pipe, until the pipe is closed."""
        while True:
            pause = max(0.0, self._next - time.monotonic()) if self._feeding else None
            if pipe.poll(pause):
                try:
                    name, *arguments = pipe.recv()
                except EOFError:
                    break
                pipe.send(getattr(self, name)(*arguments))
            if self._feeding:
                self._feed()
        for camera in self._cameras:
            camera.close()

    def feed(self) -> None:
        """Start the live results."""
        self._feeding, self._next = True, time.monotonic()

    def set_rate(self, rate: float) -> None:
        """Change the rate of each sender's live results, per second."""
        self._interval, self._next = 1 / (rate * len(self._cameras)), time.monotonic()

    def stop_feeding(self) -> None:
        """Stop the live results."""
        self._feeding = False

    def fill(self, seconds: float, rate: float) -> None:
        """Put the results of an outage into the outboxes."""
        now, count = datetime.now(timezone.utc), int(seconds * rate)
        for camera in self._cameras:
            for number in range(count):
                camera.put(now - timedelta(seconds=(count - number) / rate))
            camera.outbox.flush(timeout=60)
        self._next = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Return the progress of the senders, and the resources used."""
        entries = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
        late, self._late = self._late, 0.0
        return {
            "connected": sum(camera.publisher.state.connected for camera in self._cameras),
            "waiting": sum(camera.outbox.depth() for camera in self._cameras),
            "most_waiting": max(camera.outbox.depth() for camera in self._cameras),
            "last": [camera.last for camera in self._cameras],
            "dropped": sum(sum(camera.outbox.counts().dropped.values()) for camera in self._cameras),
            "connects": [moment for camera in self._cameras for moment in camera.connects],
            "cpu": time.process_time(), "written": int(entries["write_bytes"]), "late": late, "skipped": self._skipped,
        }  # fmt: skip

    def _feed(self) -> None:
        now = time.monotonic()
        self._late = max(self._late, now - self._next)
        if now - self._next > 1.0:  # skip results, as a camera whose frames are not read
            self._skipped += int((now - self._next) / self._interval)
            self._next = now
        while self._next <= now:
            self._cameras[self._turn].put(datetime.now(timezone.utc))
            self._turn = (self._turn + 1) % len(self._cameras)
            self._next += self._interval


def _run_senders(pipe: Connection, numbers: range, port: int, folder: str, rate: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # each lost connection would be logged
    _Process(numbers, port, Path(folder), rate).serve(pipe)


# The measurement.


@dataclass
class _Fleet:
    """All processes of one measurement."""

    broker: _Broker
    subscriber: Connection
    processes: list[Connection]
    size: int

    def ask(self, name: str, *arguments: object) -> list[Any]:
        for pipe in self.processes:
            pipe.send((name, *arguments))
        return [pipe.recv() for pipe in self.processes]

    def ask_subscriber(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - depends on the request
        self.subscriber.send((name, *arguments))
        return self.subscriber.recv()

    def connects_since(self, moment: float) -> list[float]:
        """Return the seconds from a start time to each later connection."""
        states = self.ask("state")
        return sorted(at - moment for state in states for at in state["connects"] if at >= moment)

    def wait_for_connections(self, *, limit: float) -> bool:
        deadline = time.monotonic() + limit
        while sum(state["connected"] for state in self.ask("state")) < self.size:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def wait_for_backlogs(self, most: int, *, limit: float) -> float:
        """Wait until no sender has more than `most` waiting results, and return the seconds."""
        began = time.monotonic()
        while max(state["most_waiting"] for state in self.ask("state")) > most:
            if time.monotonic() - began > limit:
                break
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def _fleet(size: int, args: argparse.Namespace, folder: Path) -> Iterator[_Fleet]:
    broker, spawn = _Broker(folder), get_context("spawn")
    broker.start()
    started: list[BaseProcess] = []
    pipes: list[Connection] = []

    def start(target: Any, *arguments: object) -> Connection:  # noqa: ANN401 - one of two functions
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        started.append(process)
        pipes.append(ours)
        return ours

    try:
        every = max(1, int(size * (args.backlog + 600) * args.rate) // _SAMPLES)
        subscriber = start(_run_subscriber, broker.port, size, every)
        shares = [range(first, min(size, first + args.per_process)) for first in range(0, size, args.per_process)]
        processes = [start(_run_senders, share, broker.port, str(folder), args.rate) for share in shares]
        yield _Fleet(broker, subscriber, processes, size)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in started:
            process.join(60)
        broker.kill()


def _measure(size: int, args: argparse.Namespace) -> dict[str, Any]:
    _check_message()
    figures: dict[str, Any] = {"senders": size, "wanted": size * args.rate}
    with tempfile.TemporaryDirectory(prefix="beeagent-fleet-", dir=args.folder) as name:
        folder = Path(name)
        with _fleet(size, args, folder) as fleet:
            if not fleet.wait_for_connections(limit=120):
                raise SystemExit("not all senders connected within 120 s")
            fleet.broker.save()
            fleet.ask("feed")
            figures["steady"] = _steady(fleet, args.seconds)
            figures["rate"] = rate = _sustainable_rate(figures, args.rate)
            fleet.ask("set_rate", rate)
            fleet.wait_for_backlogs(_SETTLED, limit=args.drain_limit)
            figures["restart"] = _restart(fleet, down=_RESTART_S)
            fleet.wait_for_backlogs(_SETTLED, limit=args.drain_limit)
            figures["backlog"] = _backlog(fleet, args, rate=rate)
            fleet.ask("stop_feeding")
            fleet.wait_for_backlogs(0, limit=args.drain_limit)
            time.sleep(2.0)  # for messages on the way to the subscriber
            figures |= _balance(fleet)
    figures["limit"] = _limit(figures)
    figures["failures"] = list(_failures(figures))
    return figures


def _steady(fleet: _Fleet, seconds: float) -> dict[str, Any]:
    time.sleep(3.0)
    before, began = _used(fleet), time.time()
    time.sleep(seconds)
    after, lasted = _used(fleet), time.time() - began
    time.sleep(1.0)
    rate = {key: (after[key] - before[key]) / lasted for key in after}
    return {
        "results_per_s": rate["received"],
        "age_s": fleet.ask_subscriber("ages", began, began + lasted),
        "cores": {key: rate[key] for key in ("senders", "broker", "subscriber", "idle", "waiting_for_disk")},
        "ms_per_result": {key: 1000 * rate[key] / max(rate["received"], 1) for key in ("senders", "broker")},
        "disk_mb_per_s": rate["written"] / 1e6,
        "skipped_per_s": rate["skipped"],
    }


def _sustainable_rate(figures: dict[str, Any], rate: float) -> float:
    """Return the rate for the outages, lower than requested if the fleet does not reach it without a backlog."""
    sustained: float = figures["steady"]["results_per_s"]
    return rate if sustained >= _ENOUGH * figures["wanted"] else max(0.1, _SPARE * sustained / figures["senders"])


def _restart(fleet: _Fleet, *, down: float) -> dict[str, Any]:
    fleet.broker.kill()
    time.sleep(down)
    return _return(fleet, fleet.broker.start())


def _return(fleet: _Fleet, started: float) -> dict[str, Any]:
    """Return figures of the reconnecting senders."""
    fleet.wait_for_connections(limit=2 * _BACK_S)
    connects = fleet.connects_since(started)
    per_second = Counter(int(at) for at in connects)
    return {
        "back": len(connects), "median_s": statistics.median(connects) if connects else None,
        "last_s": connects[-1] if connects else None, "most_per_s": max(per_second.values(), default=0),
        "per_s": [per_second[second] for second in range(max(per_second, default=-1) + 1)],
    }  # fmt: skip


def _backlog(fleet: _Fleet, args: argparse.Namespace, *, rate: float) -> dict[str, Any]:
    seconds = min(args.backlog, args.most_waiting / (fleet.size * args.rate))
    fleet.broker.kill()
    killed = time.monotonic()
    fleet.ask("fill", seconds, args.rate)
    filled = time.monotonic() - killed
    time.sleep(max(0.0, args.outage - filled))
    waiting = sum(state["waiting"] for state in fleet.ask("state"))
    started, began = fleet.broker.start(), time.time()
    figures = {"seconds": seconds, "waiting": waiting, "outage_s": started - killed, **_return(fleet, started)}
    back = time.time()
    before = fleet.ask_subscriber("counts")["received"]
    fleet.wait_for_backlogs(_SETTLED, limit=args.drain_limit)
    lasted = time.time() - back
    drained = (fleet.ask_subscriber("counts")["received"] - before) / max(lasted, 0.001)
    of_backlog = drained - rate * fleet.size
    return {
        **figures,
        "drained_s": time.time() - began,
        "results_per_s": drained,
        "an_hour_s": args.rate * 3600 * fleet.size / of_backlog if of_backlog > 0 else None,
        "left": sum(state["waiting"] for state in fleet.ask("state")),
        "live_age_s": fleet.ask_subscriber("ages", back, back + lasted),
    }


def _balance(fleet: _Fleet) -> dict[str, Any]:
    states, counts = fleet.ask("state"), fleet.ask_subscriber("counts")
    last = [number for state in states for number in state["last"]]
    return {
        "produced": sum(last), "left": sum(state["waiting"] for state in states),
        "dropped": sum(state["dropped"] for state in states), "missing": fleet.ask_subscriber("missing", last),
        "copies": counts["copies"], "out_of_order": counts["disorder"],
    }  # fmt: skip


def _used(fleet: _Fleet) -> dict[str, float]:
    """Return the resources used so far: seconds of processor time, bytes and results."""
    states, counts = fleet.ask("state"), fleet.ask_subscriber("counts")
    ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]]
    return {
        "senders": sum(state["cpu"] for state in states), "broker": fleet.broker.cpu, "subscriber": counts["cpu"],
        "idle": ticks[3] / os.sysconf("SC_CLK_TCK"), "waiting_for_disk": ticks[4] / os.sysconf("SC_CLK_TCK"),
        "received": counts["received"], "written": sum(state["written"] for state in states),
        "skipped": sum(state["skipped"] for state in states),
    }  # fmt: skip


def _failures(figures: dict[str, Any]) -> Iterator[str]:
    if figures["missing"] > figures["left"] or figures["dropped"]:
        yield f"{figures['missing'] - figures['left']} results lost, {figures['dropped']} dropped"
    if figures["out_of_order"]:
        yield f"{figures['out_of_order']} results out of order"
    for name in ("restart", "backlog"):
        if figures[name]["back"] < figures["senders"] or figures[name]["last_s"] > _BACK_S:
            yield f"{name}: {figures[name]['back']} senders back, the last after {figures[name]['last_s']:.0f} s"


def _table(figures: dict[str, Any]) -> str:
    steady, backlog, left = figures["steady"], figures["backlog"], figures["left"]
    cores, taken = steady["cores"], steady["ms_per_result"]
    lines = [
        ("steady", f"{steady['results_per_s']:.0f} results/s, {steady['skipped_per_s']:.0f} skipped for lack of time"),
        ("", f"age {_ages(steady['age_s'])}; {steady['disk_mb_per_s']:.2f} MB/s written to the disk"),
        ("cores", ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in cores.items())),
        ("", f"per result {taken['senders']:.2f} ms of the senders, {taken['broker']:.3f} ms of the broker"),
        ("limit", figures["limit"]),
        ("outages", f"with {figures['rate']:.2f} live results/s of each sender"),
        ("restart", _returned(figures["restart"])),
        ("backlog", f"{backlog['waiting']} results of {backlog['seconds']:.0f} s, {backlog['outage_s']:.0f} s outage"),
        ("", _returned(backlog)),
        ("drain", f"{backlog['results_per_s']:.0f} results/s, {backlog['drained_s']:.0f} s, {backlog['left']} left"),
        ("", f"an hour's backlog takes {_seconds(backlog['an_hour_s'])} at this rate"),
        ("", f"age of live results {_ages(backlog['live_age_s'])}"),
        ("balance", f"{figures['produced']} produced, {figures['missing'] - left} lost, {left} still waiting"),
        ("", f"{figures['copies']} copies, {figures['out_of_order']} out of order"),
        *(("FAILED", failure) for failure in figures["failures"]),
    ]
    title = f"{figures['senders']} senders, {figures['wanted']:g} results/s wanted"
    return "\n".join((title, *(f"  {name:<9} {text}" for name, text in lines)))


def _seconds(seconds: float | None) -> str:
    return "forever" if seconds is None else f"{seconds:.0f} s"


def _ages(ages: dict[str, float]) -> str:
    if not ages:
        return "unknown: nothing arrived"
    return " / ".join(f"{ages[key]:.2f}" for key in ("p50", "p95", "p99", "max")) + " s (p50 / p95 / p99 / max)"


def _returned(figures: dict[str, Any]) -> str:
    if not figures["back"]:
        return "nobody is back"
    return (
        f"{figures['back']} back, median {figures['median_s']:.1f} s, last {figures['last_s']:.1f} s; at most "
        f"{figures['most_per_s']} connects/s: {' '.join(map(str, figures['per_s']))}"
    )


def _limit(figures: dict[str, Any]) -> str:
    """Return the bottleneck of the fleet, judged by processor times."""
    steady, cores = figures["steady"], figures["steady"]["cores"]
    if steady["results_per_s"] >= _ENOUGH * figures["wanted"]:
        return "none: all results in time"
    ours = {name: cores[name] for name in ("senders", "broker", "subscriber")}
    if cores["waiting_for_disk"] > max(ours.values()):
        return "the disk"
    most = max(ours, key=lambda name: ours[name])
    others = (os.cpu_count() or 1) - cores["idle"] - cores["waiting_for_disk"] - sum(ours.values())
    busy = "" if others < 0.2 else f"; other programs and the kernel have {others:.2f} cores"
    return f"processor time of the {most}{busy}"


def _check_message() -> None:
    """Check that the messages of the senders are valid messages of the agent."""
    message = _MESSAGE.format(
        event_id=uuid4(), device="hive-0000", seq=1, boxes=_BOX, at="2026-05-04T10:21:07.123456Z"
    )  # fmt: skip
    DetectionsMessage.decode(re.sub('"bee":3', '"bee":1', message).encode())


if __name__ == "__main__":
    sys.exit(main())
