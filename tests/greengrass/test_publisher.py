"""Publishing through Greengrass IPC: the AWS SDK, a real socket, and a fake nucleus with realistic failures."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beeagent.greengrass import GreengrassPublisher, IpcAddress, IpcConnection
from beeagent.outbox import OutboxCounts, Outcome, Receipt
from beeagent.threads import Backoff
from support.delivery_line import DEADLINE, STATUS, TOPIC, DeliveryLine, line_to
from support.greengrass_nucleus import CLASSIC, LITE, MAX_BYTES, Kind, Nucleus, nucleus_at

PERMISSIONS = {
    "PublishToIoTCore": {TOPIC, STATUS},
    "SubscribeToIoTCore": {TOPIC},
    "PublishToTopic": {TOPIC, STATUS},
}
ELSEWHERE = "bees/hive/back/detections"
STATE = "bees/hive/front/state"


def quick() -> Backoff:
    return Backoff(first=0.02, longest=0.1)


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[Nucleus]:
    with nucleus_at(tmp_path) as nucleus:
        nucleus.permit(**PERMISSIONS)
        yield nucleus


@contextmanager
def connected(nucleus: Nucleus) -> Iterator[IpcConnection]:
    connection = IpcConnection(
        IpcAddress(str(nucleus.socket), nucleus.token),
        on_rejected=lambda _: None,
        backoff=quick(),
    )
    connection.start()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def line(nucleus: Nucleus, path: Path, **changes: Any) -> Iterator[DeliveryLine]:  # noqa: ANN401 - arguments
    sender = {key: changes.pop(key) for key in ("drain_rate",) if key in changes}
    with connected(nucleus) as connection:
        publisher = GreengrassPublisher(
            ipc=connection,
            status_topic=STATUS,
            **{"destination": "iot-core", "backoff": quick, **changes},
        )
        with line_to(publisher, path, **sender) as made:
            yield made


def numbers(nucleus: Nucleus, topic: str = TOPIC) -> list[int]:
    return [int(payload) for to, payload in nucleus.cloud if to == topic]


def all_delivered(line: DeliveryLine, count: int) -> None:
    line.wait_empty()
    assert line.outbox.counts() == OutboxCounts(produced=count, delivered=count, dropped={})


def test_results_are_published_in_order_and_removed_after_their_echo(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o") as running:
        running.put(40)
        all_delivered(running, 40)
    assert numbers(nucleus) == list(range(1, 41))


def test_local_destination_publishes_to_other_components(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o", destination="local") as running:
        running.publisher.report(b"online")
        running.put(10)
        all_delivered(running, 10)
        nucleus.wait_until(lambda: (STATUS, b"online") in nucleus.local)
    assert [int(payload) for topic, payload in nucleus.local if topic == TOPIC] == list(range(1, 11))
    assert nucleus.cloud == []


def test_offline_nucleus_loses_no_result(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.online = False
    with line(nucleus, tmp_path / "o") as running:
        running.put(20)
        running.wait_state(lambda: "subscribing to" in running.publisher.state.reason)
        assert running.outbox.counts() == OutboxCounts(produced=20, delivered=0, dropped={})
        nucleus.online = True
        all_delivered(running, 20)
    assert numbers(nucleus) == list(range(1, 21))


def test_retries_during_an_outage_do_not_change_the_state(nucleus: Nucleus, tmp_path: Path) -> None:
    """Otherwise the status of the device would alternate between online and degraded."""
    nucleus.online = False
    with line(nucleus, tmp_path / "o") as running:
        states: list[bool] = []
        running.publisher.listen(lambda: states.append(running.publisher.state.connected))
        running.publisher.report(b"degraded")
        running.put(1)
        nucleus.wait_until(lambda: nucleus.failures >= 5)
        nucleus.online = True
        all_delivered(running, 1)
    assert states[:-1].count(True) <= 2  # at the beginning and at the end; the last state is stopped


def test_later_outage_loses_no_result(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o") as running:
        running.put(5)
        all_delivered(running, 5)
        nucleus.online = False
        running.put(5)
        running.wait_state(lambda: "publishing on" in running.publisher.state.reason)
        nucleus.online = True
        all_delivered(running, 10)
    assert sorted(set(numbers(nucleus))) == list(range(1, 11))


def test_messages_lost_from_the_spool_are_published_again(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.online, nucleus.kind = False, CLASSIC
    with line(nucleus, tmp_path / "o", echo_timeout_s=0.3) as running:
        running.put(8)
        running.wait_state(lambda: "no message has come back" in running.publisher.state.reason)
        assert running.outbox.counts() == OutboxCounts(produced=8, delivered=0, dropped={})
        nucleus.spool.clear()  # the nucleus has restarted
        nucleus.go_online()
        all_delivered(running, 8)
    assert sorted(set(numbers(nucleus))) == list(range(1, 9))


def test_confirmation_accepted_needs_no_echo(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.permit(PublishToIoTCore={TOPIC, STATUS})
    nucleus.echoes = False
    with line(nucleus, tmp_path / "o", confirmation="accepted") as running:
        running.put(8)
        all_delivered(running, 8)
    assert numbers(nucleus) == list(range(1, 9))


def test_ended_connection_is_made_again(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o") as running:
        for round_ in range(1, 4):
            running.put(10)
            nucleus.close_connections()
            all_delivered(running, 10 * round_)
    assert sorted(set(numbers(nucleus))) == list(range(1, 31))
    assert nucleus.connections >= 3


def test_nucleus_that_starts_later_is_found(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.stop()
    with line(nucleus, tmp_path / "o") as running:
        running.put(3)
        running.wait_state(lambda: "no connection to the nucleus" in running.publisher.state.reason)
        nucleus.start()
        all_delivered(running, 3)


def test_ended_subscription_is_renewed(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o", echo_timeout_s=3600.0) as running:
        running.put(3)
        all_delivered(running, 3)
        nucleus.close_streams("SubscribeToIoTCore")
        running.put(3)
        all_delivered(running, 6)
        assert nucleus.subscribers("SubscribeToIoTCore") == 1


def test_silently_lost_subscription_repeats_each_result_once_at_most(nucleus: Nucleus, tmp_path: Path) -> None:
    """After a restart of iotcored, the stream stays open, but no message arrives."""
    nucleus.round_trip_s = 0.1
    with line(nucleus, tmp_path / "o", echo_timeout_s=2.0) as running:
        running.put(3)
        all_delivered(running, 3)
        nucleus.restart_iotcored()
        for count in range(4, 12):  # one after the other, so that each has its own deadline
            running.put(1)
            nucleus.wait_until(lambda count=count: len(nucleus.cloud) >= count)
        running.put(10)
        all_delivered(running, 21)
    sent = numbers(nucleus)
    assert {sent.count(number) for number in range(1, 22)} == {1, 2}
    assert len(sent) <= 21 + 8
    assert nucleus.calls.count("SubscribeToIoTCore") == 2


def test_denied_topic_waits_and_is_reported(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.permit(**{**PERMISSIONS, "PublishToIoTCore": {STATUS}})
    with line(nucleus, tmp_path / "o", give_up_denied_after_s=0.0) as running:
        running.publisher.report(b"online")
        running.put(4)
        running.wait_settled(lambda: "accessControl" in str(running.sender.problem))
        assert TOPIC in str(running.sender.problem)
        assert running.outbox.counts().dropped == {}
        nucleus.permit(**PERMISSIONS)  # a deployment adds the permission
        all_delivered(running, 4)


@pytest.mark.parametrize(
    ("kind", "operation", "resource"),
    [
        (LITE, "PublishToIoTCore", "bees/+/front/detections"),
        (CLASSIC, "SubscribeToIoTCore", "bees/+/front/detections"),
        (LITE, "PublishToTopic", "bees/*/front/detections"),
    ],
)
def test_permission_with_an_unreplaced_variable_is_reported_with_the_remedy(
    nucleus: Nucleus, tmp_path: Path, kind: Kind, operation: str, resource: str
) -> None:
    nucleus.kind, nucleus.thing = kind, "hive"
    written = "bees/{iot:thingName}/front/detections"
    nucleus.permit(**{**PERMISSIONS, operation: {written}})
    with line(nucleus, tmp_path / "o", destination="local" if operation == "PublishToTopic" else "iot-core") as running:
        running.put(1)
        running.wait_settled(lambda: running.sender.problem is not None)
        reason = str(running.sender.problem)
        for part in (TOPIC, "accessControl", f"aws.greengrass#{operation}", written, f"write {resource}"):
            assert part in reason
        nucleus.permit(**{**PERMISSIONS, operation: {resource}})
        all_delivered(running, 1)


def test_missing_permission_is_reported(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.configuration = {}
    with line(nucleus, tmp_path / "o") as running:
        running.put(1)
        running.wait_settled(lambda: running.sender.problem is not None)
        assert f"has no aws.greengrass#SubscribeToIoTCore: add it for {TOPIC}" in str(running.sender.problem)
        nucleus.permit(**{**PERMISSIONS, "SubscribeToIoTCore": {ELSEWHERE}})
        running.wait_settled(lambda: f"for {ELSEWHERE}, and not for {TOPIC}" in str(running.sender.problem))


def test_denied_old_topic_does_not_delay_the_others(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o", give_up_denied_after_s=0.1) as running:
        running.put(2, topic=ELSEWHERE)
        running.put(5)
        running.wait_empty()
        assert running.outbox.counts() == OutboxCounts(produced=7, delivered=5, dropped={"forbidden": 2})
    assert numbers(nucleus) == [3, 4, 5, 6, 7]


def test_message_over_the_limit_is_refused_without_ending_the_connection(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o") as running:
        running.put(1, text=b" " * MAX_BYTES)
        running.put(1, text=b" " * (MAX_BYTES - 1))
        running.wait_empty()
        assert running.outbox.counts() == OutboxCounts(produced=2, delivered=1, dropped={"too-large": 1})
    assert nucleus.connections == 1


@pytest.mark.parametrize(("destination", "most"), [("iot-core", 4_800), ("local", 7_000)])
def test_payload_limit(destination: str, most: int, nucleus: Nucleus) -> None:
    with connected(nucleus) as connection:
        publisher = GreengrassPublisher(ipc=connection, destination=destination, status_topic=STATUS)  # type: ignore[arg-type]
        assert publisher.payload_limit == most


def test_message_of_maximum_size_has_an_echo(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o") as running:
        running.put(1, text=b"x" * (running.publisher.payload_limit - 1))
        all_delivered(running, 1)
    assert nucleus.echoed == 1


def test_messages_too_long_for_an_echo_are_published_once_and_delay_no_others(nucleus: Nucleus, tmp_path: Path) -> None:
    """The outbox may contain messages of an older version, or for another broker: a lite drops their echoes."""
    nucleus.round_trip_s = 0.01
    with line(nucleus, tmp_path / "o") as running:
        running.put(20, text=b" " * 6_900)
        running.put(20, text=b" " * 900)
        all_delivered(running, 40)
    assert sorted(numbers(nucleus)) == list(range(1, 41))


def test_message_without_echo_is_published_three_times_if_later_ones_have_one(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.round_trip_s = 0.01
    nucleus.drops_echo = lambda payload: payload == b"3"
    with line(nucleus, tmp_path / "o", echo_timeout_s=1.0) as running:
        states: list[bool] = []
        running.publisher.listen(lambda: states.append(running.publisher.state.connected))
        for number in range(1, 31):  # one after the other, so that there are later ones
            running.put(1)
            nucleus.wait_until(lambda number=number: number in numbers(nucleus))
        while running.outbox.depth():
            running.put(1)
            running.wait_settled(lambda: running.outbox.depth() <= 1)
    sent = numbers(nucleus)
    assert sent.count(3) == 3
    assert {sent.count(number) for number in sent} == {1, 3}
    assert False not in states[:-1]  # and it was no outage; the last state is stopped


def test_backlog_stays_within_the_limits_of_the_nucleus(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.online, nucleus.round_trip_s = False, 0.03
    with line(nucleus, tmp_path / "o", drain_rate=10_000.0) as running:
        running.put(100, text=b" " * 2_000)
        running.wait_state(lambda: "is it offline or too busy?" in running.publisher.state.reason)
        offline = nucleus.failures
        nucleus.online = True
        nucleus.wait_until(lambda: len(nucleus.cloud) > 0)
        failures = nucleus.failures
        assert failures >= offline
        all_delivered(running, 100)
        assert nucleus.failures == failures
    assert sorted(numbers(nucleus)) == list(range(1, 101))


@pytest.mark.parametrize("confirmation", ["echo", "accepted"])
def test_full_nucleus_is_not_taken_for_an_offline_one(nucleus: Nucleus, tmp_path: Path, confirmation: str) -> None:
    """Other components publish too, so that even the agent's own limit may be too much."""
    nucleus.kind, nucleus.round_trip_s = replace(LITE, unacknowledged=2), 0.02
    with line(nucleus, tmp_path / "o", confirmation=confirmation) as running:
        running.publisher.report(b"online")
        running.put(1)
        all_delivered(running, 1)
        states: list[bool] = []
        running.publisher.listen(lambda: states.append(running.publisher.state.connected))
        running.put(40)
        all_delivered(running, 41)
        assert states == []
        nucleus.wait_until(lambda: len(numbers(nucleus)) == 41)  # where only accepted, it may still be in flight
    assert nucleus.failures > 0
    assert sorted(numbers(nucleus)) == list(range(1, 42))
    assert [payload for topic, payload in nucleus.cloud if topic == STATUS] == [b"online"]


def test_nucleus_that_stays_full_is_offline(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o", response_timeout_s=0.2) as running:
        running.put(1)
        all_delivered(running, 1)
        nucleus.echoes = False
        running.put(1)
        nucleus.wait_until(lambda: len(nucleus.cloud) == 2)
        nucleus.online = False
        running.put(1)
        running.wait_state(lambda: "is it offline or too busy?" in running.publisher.state.reason)
        nucleus.online = nucleus.echoes = True
        all_delivered(running, 3)


def test_farewell_to_a_full_nucleus_is_sent_again(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.kind, nucleus.round_trip_s = replace(LITE, unacknowledged=1), 0.2
    with line(nucleus, tmp_path / "o") as running:
        running.put(1)
        nucleus.wait_until(lambda: len(nucleus._unacknowledged) == 1)
        running.publisher.stop(farewell=b"offline", timeout=10.0)
        nucleus.wait_until(lambda: nucleus.last(STATUS) == b"offline")


def test_unresponsive_nucleus_is_reported(nucleus: Nucleus, tmp_path: Path) -> None:
    with line(nucleus, tmp_path / "o", response_timeout_s=0.2) as running:
        running.put(1)
        all_delivered(running, 1)
        nucleus.unresponsive = True
        running.put(3)
        running.wait_state(lambda: running.publisher.state.reason == "the nucleus does not respond")
        nucleus.unresponsive = False
        all_delivered(running, 4)


def test_slow_nucleus_delivers_each_result_once(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.delay = 0.05
    with line(nucleus, tmp_path / "o") as running:
        running.put(30)
        all_delivered(running, 30)
    assert numbers(nucleus) == list(range(1, 31))


def test_latest_status_is_published_after_an_outage_and_the_farewell_last(
    nucleus: Nucleus, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(nucleus) as connection:
        publisher = GreengrassPublisher(
            ipc=connection,
            destination="iot-core",
            status_topic=STATUS,
            backoff=quick,
        )
        publisher.report(b"too early to be sent")
        publisher.start()
        nucleus.wait_until(lambda: nucleus.last(STATUS) == b"too early to be sent")
        assert "the status is not published" not in caplog.text  # it was sent on the new connection
        nucleus.online = False
        failed = threading.Event()
        publisher.listen(lambda: failed.set() if not publisher.state.connected else None)
        publisher.report(b"degraded")
        assert failed.wait(DEADLINE)
        nucleus.online = True
        nucleus.wait_until(lambda: nucleus.last(STATUS) == b"degraded")
        nucleus.close_connections()
        nucleus.wait_until(lambda: [payload for _, payload in nucleus.cloud].count(b"degraded") == 2)
        publisher.stop(farewell=b"offline", timeout=5.0)
        nucleus.wait_until(lambda: nucleus.last(STATUS) == b"offline")
        publisher.stop(farewell=b"again", timeout=5.0)
        assert nucleus.last(STATUS) == b"offline"
        ended: list[Receipt] = []
        publisher.publish(topic=TOPIC, payload=b"1", done=ended.append)
        assert [receipt.outcome for receipt in ended] == [Outcome.LOST]


def test_denied_status_does_not_block_results(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.permit(**{**PERMISSIONS, "PublishToIoTCore": {TOPIC}})
    with line(nucleus, tmp_path / "o") as running:
        running.publisher.report(b"online")
        running.put(6)
        all_delivered(running, 6)
    assert nucleus.last(STATUS) is None


def test_newest_state_is_retained_without_echo(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.permit(**{**PERMISSIONS, "PublishToIoTCore": {TOPIC, STATUS, STATE}})
    nucleus.kind = CLASSIC
    with line(nucleus, tmp_path / "o") as running:
        running.publisher.retain(topic=STATE, payload=b"1")
        running.publisher.retain(topic=STATE, payload=b"2")
        running.put(3)
        all_delivered(running, 3)
        nucleus.wait_until(lambda: nucleus.last(STATE) == b"2")
    assert nucleus.retained[STATE] == b"2"


@pytest.mark.parametrize("kind", [LITE, CLASSIC])
def test_state_of_an_outage_is_never_published_later(nucleus: Nucleus, tmp_path: Path, kind: Kind) -> None:
    nucleus.permit(**{**PERMISSIONS, "PublishToIoTCore": {TOPIC, STATUS, STATE}})
    nucleus.kind = kind
    with line(nucleus, tmp_path / "o") as running:
        running.put(1)
        all_delivered(running, 1)
        nucleus.online = False
        before = nucleus.calls.count("PublishToIoTCore")
        running.publisher.retain(topic=STATE, payload=b"old")
        nucleus.wait_until(lambda: nucleus.calls.count("PublishToIoTCore") > before)
        nucleus.online = True
        running.publisher.retain(topic=STATE, payload=b"new")
        nucleus.wait_until(lambda: nucleus.last(STATE) == b"new")
        running.put(1)
        all_delivered(running, 2)
    assert [payload for topic, payload in nucleus.cloud if topic == STATE] == [b"new"]


def test_denied_state_does_not_block_results(
    nucleus: Nucleus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with line(nucleus, tmp_path / "o") as running:
        for number in range(20):
            running.publisher.retain(topic=STATE, payload=b"%d" % number)
            running.put(1)
        all_delivered(running, 20)
    assert nucleus.last(STATE) is None
    (warning,) = [record.message for record in caplog.records if "is not published" in record.message]
    assert STATE in warning
    assert "accessControl" in warning


def test_results_in_flight_at_stop_are_delivered_by_the_next_run(nucleus: Nucleus, tmp_path: Path) -> None:
    nucleus.echoes = False
    with line(nucleus, tmp_path / "o") as running:
        running.put(5)
        nucleus.wait_until(lambda: len(nucleus.cloud) == 5)
    nucleus.echoes = True
    with line(nucleus, tmp_path / "o") as running:
        all_delivered(running, 5)
    assert numbers(nucleus) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]


def test_times_out_of_range_are_refused(nucleus: Nucleus) -> None:
    with connected(nucleus) as connection, pytest.raises(ValueError, match="out of range"):
        GreengrassPublisher(ipc=connection, destination="local", status_topic=STATUS, echo_timeout_s=0)
