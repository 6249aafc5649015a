"""Events of deployments are handled, even if the nucleus ends subscriptions or does not support them yet."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from beeagent.greengrass import IpcAddress, IpcConnection, IpcError
from beeagent.greengrass.deployments import Deployments
from support.greengrass_nucleus import CLASSIC, Nucleus, nucleus_at

DEADLINE = 45.0
CHANGES = "SubscribeToConfigurationUpdate"


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[Nucleus]:
    with nucleus_at(tmp_path, CLASSIC) as nucleus:
        yield nucleus


class Read:
    """Counts how often the configuration was read."""

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures
        self._changed = threading.Condition()
        self.times = 0

    def __call__(self) -> None:
        with self._changed:
            self.times += 1
            self._changed.notify_all()
        if self.times <= self._failures:
            raise IpcError("not yet", name="ServiceError")

    def wait(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.times >= times, DEADLINE), self.times


@contextmanager
def listening(nucleus: Nucleus, read: Read, **changes: Any) -> Iterator[None]:  # noqa: ANN401 - arguments
    connection = IpcConnection(IpcAddress(str(nucleus.socket), nucleus.token), on_rejected=lambda _: None)
    connection.start()
    options: dict[str, Any] = {"validate": lambda _: None, "may_stop": lambda: True, "retry_after_s": 0.05, **changes}
    deployments = Deployments(connection, on_configuration=read, **options)
    deployments.start()
    try:
        yield
    finally:
        deployments.stop(DEADLINE)
        connection.close()


def test_several_keys_of_one_deployment_are_read_once(nucleus: Nucleus) -> None:
    read = Read()
    with listening(nucleus, read):
        read.wait(1)
        nucleus.wait_until(lambda: nucleus.subscribers(CHANGES) == 1)
        nucleus.configure(threads=1, tiles="2x2", threshold=0.5)
        read.wait(2)
    assert read.times == 2


def test_ended_subscription_is_renewed(nucleus: Nucleus) -> None:
    read = Read()
    with listening(nucleus, read):
        read.wait(1)
        nucleus.wait_until(lambda: nucleus.subscribers(CHANGES) == 1)
        nucleus.close_streams(CHANGES)
        nucleus.wait_until(lambda: nucleus.subscribers(CHANGES) == 1)
        read.wait(2)  # a change may have been missed
        nucleus.configure(threads=1)
        read.wait(3)
    assert nucleus.subscribers("SubscribeToComponentUpdates") == 1


def test_silently_lost_subscription_is_compensated_by_polling(nucleus: Nucleus) -> None:
    """After a restart of ggconfigd, the stream stays open, but no event arrives."""
    read = Read()
    with listening(nucleus, read, read_interval_s=0.05):
        read.wait(1)
        nucleus.wait_until(lambda: nucleus.subscribers(CHANGES) == 1)
        nucleus.restart_ggconfigd()
        nucleus.configure(threads=1)
        read.wait(read.times + 2)


def test_without_change_events_the_configuration_is_polled(nucleus: Nucleus) -> None:
    nucleus.missing = frozenset({CHANGES})
    read = Read()
    with listening(nucleus, read):
        read.wait(3)
        nucleus.missing = frozenset()
        nucleus.wait_until(lambda: nucleus.subscribers(CHANGES) == 1)


def test_unavailable_configuration_is_read_again(nucleus: Nucleus) -> None:
    read = Read(failures=2)
    with listening(nucleus, read):
        read.wait(3)


def test_deployment_is_deferred_for_a_limited_time(nucleus: Nucleus) -> None:
    with listening(nucleus, Read(), may_stop=lambda: False, max_deferral_s=0.2):
        nucleus.wait_until(lambda: nucleus.subscribers("SubscribeToComponentUpdates") == 1)
        nucleus.announce_update("d-1")
        nucleus.wait_until(lambda: len(nucleus.deferrals) == 1)
        assert nucleus.deferrals == [("d-1", 50)]
        while nucleus.deferrals[-1] != ("d-1", 0):
            count = len(nucleus.deferrals)
            nucleus.announce_update("d-1")
            nucleus.wait_until(partial(_more_than, count, nucleus.deferrals))


def _more_than(count: int, things: list[Any]) -> bool:
    return len(things) > count
