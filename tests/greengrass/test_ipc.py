"""Greengrass IPC: the connection is established again unless the token is rejected."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent.greengrass import IpcAddress, IpcConnection, IpcError, ipc_address
from beeagent.threads import Backoff
from support.greengrass_nucleus import DISCONNECTS_FROM, Nucleus, nucleus_at

DEADLINE = 45.0


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[Nucleus]:
    with nucleus_at(tmp_path) as nucleus:
        nucleus.permit(PublishToIoTCore={"a"})
        yield nucleus


@dataclass
class Connected:
    """A connection, and whether it was rejected."""

    ipc: IpcConnection
    rejected: threading.Event

    def publish(self, size: int) -> None:
        self.ipc.call(lambda client: client.publish_to_iot_core_async(topic_name="a", qos="1", payload=b"." * size))


@contextmanager
def connecting(path: Path, token: str, *, connect_timeout_s: float = DEADLINE) -> Iterator[Connected]:
    rejected = threading.Event()
    connection = IpcConnection(
        IpcAddress(str(path), token),
        on_rejected=lambda _: rejected.set(),
        backoff=Backoff(first=0.01, longest=0.05),
        connect_timeout_s=connect_timeout_s,
    )
    connection.start()
    try:
        yield Connected(connection, rejected)
    finally:
        connection.close()


def test_call_returns_the_response(nucleus: Nucleus) -> None:
    nucleus.configuration = {"threads": 2}
    with connecting(nucleus.socket, nucleus.token) as connected:
        assert connected.ipc.wait_connected(DEADLINE)
        response = connected.ipc.call(lambda client: client.get_configuration_async(key_path=[]))
    assert response.value == {"threads": 2}


def test_errors_without_a_message_are_described(nucleus: Nucleus) -> None:
    nucleus.permit()
    with connecting(nucleus.socket, nucleus.token) as connected:
        assert connected.ipc.wait_connected(DEADLINE)
        with pytest.raises(IpcError, match="does not permit it: accessControl") as caught:
            connected.publish(1)
    assert caught.value.name == "UnauthorizedError"


def test_payload_that_ends_the_connection_is_an_error_and_the_next_call_works(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, nucleus.token) as connected:
        assert connected.ipc.wait_connected(DEADLINE)
        with pytest.raises(IpcError, match="ended"):
            connected.publish(DISCONNECTS_FROM)
        nucleus.wait_until(lambda: nucleus.connections == 2)
        assert connected.ipc.wait_connected(DEADLINE)
        connected.publish(1)
        nucleus.wait_until(lambda: len(nucleus.cloud) == 1)


def test_listeners_are_called_until_they_are_removed(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, nucleus.token) as connected:
        assert connected.ipc.wait_connected(DEADLINE)
        connections: list[bool] = []
        ended = threading.Event()

        def note() -> None:
            connections.append(connected.ipc.client is not None)
            if not connections[-1]:
                ended.set()

        remove = connected.ipc.listen(note)
        nucleus.stop()
        assert ended.wait(DEADLINE)
        remove()
        nucleus.start()
        assert connected.ipc.wait_connected(DEADLINE)
        assert connected.ipc.reason == ""
        assert True not in connections


def test_call_without_a_connection_fails_at_once(tmp_path: Path) -> None:
    with connecting(tmp_path / "nowhere", "1") as connected, pytest.raises(IpcError, match="no connection") as caught:
        connected.publish(1)
    assert caught.value.name == "ConnectionClosedError"
    connected.ipc.close()


def test_refused_token_ends_the_attempts(nucleus: Nucleus) -> None:
    with connecting(nucleus.socket, "of an earlier process") as connected:
        assert connected.rejected.wait(DEADLINE)
        assert "only a new process can connect" in connected.ipc.reason
    assert nucleus.connections == 0


def test_nucleus_that_keeps_closing_the_connection_rejects_the_token(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.settimeout(DEADLINE)
        listening.bind(str(tmp_path / "ipc.sock"))
        listening.listen()
        with connecting(tmp_path / "ipc.sock", "1") as connected:
            for _ in range(5):
                assert not connected.rejected.is_set()
                accepted, _address = listening.accept()
                accepted.close()
            assert connected.rejected.wait(DEADLINE)


def test_nucleus_that_never_accepts_the_token_rejects_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "ipc.sock"))
        listening.listen()
        with connecting(tmp_path / "ipc.sock", "1", connect_timeout_s=0.05) as connected:
            assert connected.rejected.wait(DEADLINE)


def test_nucleus_that_closes_connections_at_its_start_is_retried(tmp_path: Path) -> None:
    path = tmp_path / "ipc.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.settimeout(DEADLINE)
        listening.bind(str(path))
        listening.listen()
        with connecting(path, "svcuid-1") as connected:
            for _ in range(3):
                accepted, _address = listening.accept()
                accepted.close()
            listening.close()
            path.unlink()
            with nucleus_at(tmp_path):
                assert connected.ipc.wait_connected(DEADLINE)
            assert not connected.rejected.is_set()


@pytest.mark.parametrize("missing", ["SVCUID", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"])
def test_process_that_no_nucleus_started_is_refused(missing: str) -> None:
    variables = {"SVCUID": "1", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/s"}
    assert ipc_address(variables) == IpcAddress("/s", "1")
    assert "1" not in repr(ipc_address(variables))
    with pytest.raises(InputError, match=f"{missing} is not set"):
        ipc_address({**variables, missing: ""})
