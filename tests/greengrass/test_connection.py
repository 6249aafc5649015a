"""The connection to a nucleus: made again after each end, and given up only where none can come."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from beeagent.backoff import Backoff
from beeagent.greengrass.address import NucleusAddress
from beeagent.greengrass.errors import NucleusError
from beeagent.greengrass.ipc import NucleusConnection
from support.greengrass_nucleus import HANGS_UP_FROM, Nucleus, nucleus_at

DEADLINE = 60.0


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[Nucleus]:
    with nucleus_at(tmp_path) as nucleus:
        nucleus.permit(PublishToIoTCore={"a"})
        yield nucleus


@dataclass
class Made:
    """A connection, and whether it was expelled."""

    connection: NucleusConnection
    expelled: threading.Event

    def publish(self, size: int) -> None:
        self.connection.ask(
            lambda client: client.publish_to_iot_core_async(topic_name="a", qos="1", payload=b"." * size)
        )


@contextmanager
def connecting(path: Path, token: str, *, connect_within_s: float = DEADLINE) -> Iterator[Made]:
    expelled = threading.Event()
    connection = NucleusConnection(
        NucleusAddress(str(path), token),
        on_expelled=lambda _: expelled.set(),
        backoff=Backoff(first=0.01, longest=0.05),
        connect_within_s=connect_within_s,
    )
    connection.start()
    try:
        yield Made(connection, expelled)
    finally:
        connection.close()


def test_what_the_nucleus_answers_comes_back(nucleus: Nucleus) -> None:
    nucleus.configuration = {"threads": 2}
    with connecting(nucleus.socket, nucleus.token) as made:
        assert made.connection.wait_connected(DEADLINE)
        answer = made.connection.ask(lambda client: client.get_configuration_async(key_path=[]))
    assert answer.value == {"threads": 2}


def test_errors_without_a_message_are_put_into_words(nucleus: Nucleus) -> None:
    nucleus.permit()
    with connecting(nucleus.socket, nucleus.token) as made:
        assert made.connection.wait_connected(DEADLINE)
        with pytest.raises(NucleusError, match="does not permit it: accessControl") as caught:
            made.publish(1)
    assert caught.value.name == "UnauthorizedError"


def test_a_payload_that_ends_the_connection_is_an_error_and_the_next_works(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, nucleus.token) as made:
        assert made.connection.wait_connected(DEADLINE)
        with pytest.raises(NucleusError, match="ended"):
            made.publish(HANGS_UP_FROM)
        nucleus.wait_until(lambda: nucleus.connections == 2)
        assert made.connection.wait_connected(DEADLINE)
        made.publish(1)
        nucleus.wait_until(lambda: len(nucleus.cloud) == 1)


def test_listeners_hear_of_each_beginning_and_end_until_they_are_forgotten(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, nucleus.token) as made:
        assert made.connection.wait_connected(DEADLINE)
        heard: list[bool] = []
        ended = threading.Event()

        def listen() -> None:
            heard.append(made.connection.client is not None)
            if not heard[-1]:
                ended.set()

        forget = made.connection.listen(listen)
        nucleus.stop()
        assert ended.wait(DEADLINE)
        forget()
        nucleus.start()
        assert made.connection.wait_connected(DEADLINE)
        assert made.connection.reason == ""
        assert True not in heard


def test_without_a_connection_nothing_is_waited_for(tmp_path: Path) -> None:
    with connecting(tmp_path / "nowhere", "1") as made, pytest.raises(NucleusError, match="no connection") as caught:
        made.publish(1)
    assert caught.value.name == "ConnectionClosedError"
    made.connection.close()


def test_a_token_that_is_refused_is_the_end(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, "of another time") as made:
        assert made.expelled.wait(DEADLINE)
        assert "only a new process gets in" in made.connection.reason
    assert nucleus.connections == 0


def test_a_nucleus_that_hangs_up_again_and_again_before_it_lets_in_refuses(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.settimeout(DEADLINE)
        listening.bind(str(tmp_path / "ipc.sock"))
        listening.listen()
        with connecting(tmp_path / "ipc.sock", "1") as made:
            for _ in range(5):
                assert not made.expelled.is_set()
                accepted, _address = listening.accept()
                accepted.close()
            assert made.expelled.wait(DEADLINE)


def test_a_nucleus_that_never_lets_in_refuses_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "ipc.sock"))
        listening.listen()
        with connecting(tmp_path / "ipc.sock", "1", connect_within_s=0.05) as made:
            assert made.expelled.wait(DEADLINE)


def test_a_nucleus_that_hangs_up_while_it_is_being_started_is_not_given_up(tmp_path: Path) -> None:
    path = tmp_path / "ipc.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.settimeout(DEADLINE)
        listening.bind(str(path))
        listening.listen()
        with connecting(path, "svcuid-1") as made:
            for _ in range(3):
                accepted, _address = listening.accept()
                accepted.close()
            listening.close()
            path.unlink()
            with nucleus_at(tmp_path):
                assert made.connection.wait_connected(DEADLINE)
            assert not made.expelled.is_set()
