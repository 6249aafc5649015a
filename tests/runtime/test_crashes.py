"""`kill -9` at random times: no result is lost, and no number is assigned twice.

A few kills in every run; as many as wished with `BEEAGENT_KILLS=100 pytest tests/runtime/test_crashes.py`.
"""

import json
import os
import random
import subprocess
from itertools import cycle, islice, product
from pathlib import Path

import pytest
from support.beeagent_process import DEADLINE, RunningAgent, run_beeagent, running_agent, tiny_model
from support.mosquitto import Mosquitto, running_mosquitto
from support.mqtt_subscriber import Subscriber, subscriber
from support.outbox_files import Books, read_books
from support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.faults

OUTAGES = [
    (None, "never"),
    *product(("broker down", "no answers", "swallowed"), ("while it runs", "before the agent")),
]
KILLS = int(os.environ.get("BEEAGENT_KILLS", len(OUTAGES)))
TOPIC = "beeagent/hive/front/detections"
STARTING = 0.1  # share of kills that come while the agent starts
LAST_RUNS = 5  # to get a backlog out at the end

_KEEPING = """
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
"""


class Arrivals:
    """The received messages by number."""

    def __init__(self, subscribed: Subscriber) -> None:
        self._subscribed = subscribed
        self._read = 0
        self.by_seq: dict[int, set[bytes]] = {}
        self.count = 0

    def update(self) -> "Arrivals":
        messages = self._subscribed.messages
        while self._read < len(messages):
            payload = bytes(messages[self._read].payload)
            self._read += 1
            self.count += 1
            self.by_seq.setdefault(json.loads(payload)["seq"], set()).add(payload)
        return self


def begin_outage(outage: str | None, broker: Mosquitto, proxy: TcpProxy) -> None:
    if outage == "broker down":
        broker.stop()
    elif outage == "no answers":
        proxy.hold_answers()
    elif outage == "swallowed":
        proxy.swallowing = True


def end_outage(outage: str | None, broker: Mosquitto, proxy: TcpProxy) -> None:
    if outage == "broker down":
        broker.start()
    elif outage == "no answers":
        proxy.cut()
        proxy.let_answers_through()
    elif outage == "swallowed":
        proxy.cut()
        proxy.swallowing = False


def live_for(agent: RunningAgent, seconds: float) -> None:
    """Let a moment pass that only chance has chosen, and see that the agent lives on."""
    with pytest.raises(subprocess.TimeoutExpired):
        agent.process.wait(seconds)


@pytest.mark.timeout(300 + 20 * KILLS)
def test_kill_at_random_moments_loses_nothing_and_reuses_no_number(tmp_path: Path) -> None:
    seed = int(os.environ.get("BEEAGENT_KILLS_SEED") or random.randrange(2**32))  # noqa: S311 - chooses moments
    print(f"BEEAGENT_KILLS_SEED={seed}")  # noqa: T201 - what one needs to see the same again
    rng = random.Random(seed)  # noqa: S311 - chooses moments
    outbox = tmp_path / "state" / "beeagent" / "hive-front.outbox.sqlite3"
    with (
        running_mosquitto(tmp_path, settings=_KEEPING.format(folder=tmp_path)) as broker,
        subscriber(broker.port, TOPIC, persistent=True) as subscribed,
        tcp_proxy(broker.port) as proxy,
    ):
        arguments = (
            "--camera", "synthetic:160x120@60", *tiny_model(tmp_path), "--publish", "always", "--device", "hive",
            "--camera-name", "front", "--broker", f"mqtt://127.0.0.1:{proxy.port}", "--stdout", "--threads", "1",
        )  # fmt: skip
        before = Books(0, 0, {}, 0)
        for outage, begins in islice(cycle(OUTAGES), KILLS):
            if begins == "before the agent":
                begin_outage(outage, broker, proxy)
            with running_agent(*arguments, folder=tmp_path) as agent:
                if rng.random() > STARTING:
                    agent.messages(1)
                    live_for(agent, rng.uniform(0.0, 0.5))
                if begins == "while it runs":
                    begin_outage(outage, broker, proxy)
                live_for(agent, rng.uniform(0.0, 0.8))
                agent.process.kill()
                agent.process.wait(DEADLINE)
            end_outage(outage, broker, proxy)
            books = read_books(outbox)
            assert books.balanced, books
            assert books.dropped == {}
            assert books.produced >= before.produced
            before = books
        for _ in range(LAST_RUNS):
            ended = run_beeagent(*arguments, "--frames", "3", folder=tmp_path)
            assert ended.returncode == 0, ended.stderr
            books = read_books(outbox)
            if books.rows == 0:
                break
        assert books == Books(produced=books.produced, delivered=books.produced, dropped={}, rows=0)
        arrivals = Arrivals(subscribed)
        subscribed.wait_until(lambda: len(arrivals.update().by_seq) >= books.produced, deadline=DEADLINE)
        assert sorted(arrivals.by_seq) == list(range(1, books.produced + 1))
        assert [seq for seq, payloads in arrivals.by_seq.items() if len(payloads) > 1] == []
        print(f"{KILLS} kills: {books.produced} results, {arrivals.count} arrivals")  # noqa: T201
