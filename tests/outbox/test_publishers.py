"""Publishers other than MQTT implement the same protocol: one of each kind that Greengrass IPC can be.

Their other side is played here by `Cloud`, since what matters is what the publisher makes of its answers.
"""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from beeagent.outbox import OutboxCounts, Outcome, Publisher, PublisherState, Receipt
from support.delivery_line import TOPIC, DeliveryLine, line_to


class Cloud:
    """The broker behind the nucleus: its received messages, and whether it is reachable."""

    def __init__(self) -> None:
        self.online = threading.Event()
        self.got: list[bytes] = []
        self.echo: Callable[[bytes], None] = lambda _: None

    def take(self, payload: bytes) -> None:
        self.got.append(payload)
        self.echo(payload)


class FailingPublisher:
    """As on nucleus lite: a publish fails at once while the cloud is out of reach, and nothing tells when it is back.

    So the failure makes it disconnected, for a while; after that it is worth another try.
    """

    payload_limit = 7_000

    def __init__(self, cloud: Cloud, *, pause_s: float = 0.02) -> None:
        self._cloud = cloud
        self._pause = pause_s
        self._listeners: list[Callable[[], None]] = []
        self._state = PublisherState(connected=False, reason="not started", untried=True)
        self.failures = 0

    @property
    def state(self) -> PublisherState:
        return self._state

    def listen(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def start(self) -> None:
        self._become(PublisherState(connected=True))

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        assert topic == TOPIC
        if not self._state.connected:
            done(Receipt(Outcome.LOST, self._state.reason))
        elif self._cloud.online.is_set():
            self._cloud.take(payload)
            done(Receipt(Outcome.DELIVERED))
        else:
            self.failures += 1
            self._become(PublisherState(connected=False, reason="the nucleus has no connection"))
            threading.Timer(self._pause, self._become, [PublisherState(connected=True)]).start()
            done(Receipt(Outcome.LOST, "the nucleus has no connection"))

    def report(self, payload: bytes) -> None:
        pass

    def retain(self, *, topic: str, payload: bytes) -> None:
        pass

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:  # noqa: ARG002 - the protocol's
        self._become(PublisherState(connected=False, reason="stopped"))

    def _become(self, state: PublisherState) -> None:
        if self._state.reason != "stopped":
            self._state = state
        for listener in self._listeners:
            listener()


class ClaimingPublisher(FailingPublisher):
    """As on a classic nucleus: a publish succeeds at once, into a spool in memory that a restart empties.

    Success proves nothing, so it is the echo, of a subscription to the same topic, that makes a result delivered.
    """

    def __init__(self, cloud: Cloud, *, patience_s: float) -> None:
        super().__init__(cloud)
        self._patience = patience_s
        self._lock = threading.Lock()
        self._claimed: dict[bytes, Callable[[Receipt], None]] = {}
        self.spool: deque[bytes] = deque()
        cloud.echo = self._hear

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        assert topic == TOPIC
        with self._lock:
            self._claimed[payload] = done
        timer = threading.Timer(self._patience, self._end, [payload, Receipt(Outcome.LOST, "no echo")])
        timer.daemon = True
        timer.start()
        self.spool.append(payload)
        if self._cloud.online.is_set():
            self.flush()

    def flush(self) -> None:
        while self.spool:
            self._cloud.take(self.spool.popleft())

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        super().stop(farewell=farewell, timeout=timeout)
        for payload in list(self._claimed):
            self._end(payload, Receipt(Outcome.LOST, "stopped"))

    def _hear(self, payload: bytes) -> None:
        self._end(payload, Receipt(Outcome.DELIVERED))

    def _end(self, payload: bytes, receipt: Receipt) -> None:
        with self._lock:
            done = self._claimed.pop(payload, None)
        if done is not None:
            done(receipt)


def _numbers(cloud: Cloud) -> list[int]:
    return [int(payload) for payload in cloud.got]


def _delivered(line: DeliveryLine, count: int) -> None:
    line.wait_empty()
    assert line.outbox.counts() == OutboxCounts(produced=count, delivered=count, dropped={})
    assert line.sender.problem is None


def test_the_fakes_are_publishers() -> None:
    cloud = Cloud()
    publishers: list[Publisher] = [FailingPublisher(cloud), ClaimingPublisher(cloud, patience_s=1.0)]
    assert [publisher.state.untried for publisher in publishers] == [True, True]


def test_failed_offline_publishes_stay_in_the_outbox(tmp_path: Path) -> None:
    cloud = Cloud()
    publisher = FailingPublisher(cloud)
    with line_to(publisher, tmp_path / "o") as line:
        line.put(20)
        line.wait_state(lambda: publisher.failures >= 5)
        assert line.outbox.counts() == OutboxCounts(produced=20, delivered=0, dropped={})
        cloud.online.set()
        line.put(5)
        _delivered(line, 25)
    assert _numbers(cloud) == list(range(1, 26))


def test_unconfirmed_publish_stays_in_the_outbox(tmp_path: Path) -> None:
    cloud = Cloud()
    publisher = ClaimingPublisher(cloud, patience_s=0.2)
    with line_to(publisher, tmp_path / "o") as line:
        line.put(30)
        line.wait_settled(lambda: line.sender.problem == "no echo")
        assert line.outbox.counts() == OutboxCounts(produced=30, delivered=0, dropped={})
        publisher.spool.clear()  # the nucleus restarts: what it had taken is gone
        cloud.online.set()
        _delivered(line, 30)
    assert list(dict.fromkeys(_numbers(cloud))) == list(range(1, 31))


def test_stop_without_echoes_ends_publishes_and_next_run_delivers(tmp_path: Path) -> None:
    cloud = Cloud()
    publisher = ClaimingPublisher(cloud, patience_s=3600.0)
    with line_to(publisher, tmp_path / "o") as line:
        line.put(10)
        assert not line.sender.drain(timeout=0.05)
    cloud.online.set()
    with line_to(ClaimingPublisher(cloud, patience_s=3600.0), tmp_path / "o") as line:
        _delivered(line, 10)
    assert _numbers(cloud) == list(range(1, 11))
