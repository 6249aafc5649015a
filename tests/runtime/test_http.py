"""Health over HTTP through real sockets, with well-behaved and misbehaving clients."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent.runtime.http import HealthServer
from beeagent.runtime.status import Health, Problems
from beeagent.threads import ThreadGuard
from hypothesis import given
from hypothesis import strategies as st
from support.beeagent_process import run_beeagent, running_agent, tiny_model
from support.early_close import send_and_read
from support.known_health import known_health
from support.mosquitto import free_port
from support.notify_socket import notify_socket
from support.prometheus_text import read_metrics

DEADLINE = 45.0
SLOTS = 8  # connections that are open at a time, at most


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture
def health(problems: Problems) -> Health:
    return known_health(problems)


@pytest.fixture
def port(health: Health) -> Iterator[int]:
    server = HealthServer(health, host="127.0.0.1", port=free_port())
    server.start()
    yield server.port
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def ask(port: int, path: str, *, method: str = "GET") -> tuple[int, str, str]:
    """Return the status, the content type and the body."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


def silent_client(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def test_healthz_follows_state(port: int, problems: Problems) -> None:
    status, content_type, body = ask(port, "/healthz")
    assert (status, content_type, json.loads(body)) == (200, "application/json", {"state": "online", "reasons": []})
    problems.set("camera", "no frame came")
    status, _, body = ask(port, "/healthz?verbose=1")
    assert (status, json.loads(body)) == (503, {"state": "degraded", "reasons": ["camera: no frame came"]})


def test_metrics_are_served_to_prometheus(port: int) -> None:
    status, content_type, body = ask(port, "/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert read_metrics(body)["beeagent_online", ()] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/../healthz", 404), ("POST", "/metrics", 501), ("DELETE", "/healthz", 501)],
)
def test_other_requests_are_rejected(method: str, path: str, status: int, port: int) -> None:
    given, content_type, body = ask(port, path, method=method)
    assert given == status
    assert content_type == "text/plain; charset=utf-8"
    assert "Python" not in body


def test_head_has_no_body(port: int) -> None:
    assert ask(port, "/healthz", method="HEAD") == (200, "application/json", "")


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET /" + b"a" * 100_000, b"\r\n" * 10])
def test_invalid_request_ends_its_own_connection_only(nonsense: bytes, port: int) -> None:
    with silent_client(port) as client:
        send_and_read(client, nonsense)
    assert ask(port, "/healthz")[0] == 200


def test_silent_clients_do_not_block_others_or_add_threads(port: int) -> None:
    before = set(threading.enumerate())

    def handling() -> list[threading.Thread]:
        """Return this server's threads, oldest first; another test's server may still have some."""
        return [thread for thread in threading.enumerate() if thread not in before]

    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(silent_client(port)) for _ in range(3 * SLOTS)]
        for _ in range(2):
            assert ask(port, "/healthz")[0] == 200
        assert clients[0].recv(1) == b""  # the oldest had to go
        # A connection that was closed ends its thread a moment later.
        for thread in handling()[: -SLOTS - 1]:
            thread.join(DEADLINE)
        assert len(handling()) <= SLOTS + 1


def test_slow_request_is_dropped(port: int) -> None:
    with silent_client(port) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n")
        assert client.recv(1) == b""  # without this, it would last for as long as the client likes


def test_port_in_use_is_an_input_error(port: int, health: Health) -> None:
    with pytest.raises(InputError, match=f"http_port {port} cannot be listened on .*in use.*: give others"):
        HealthServer(health, host="127.0.0.1", port=port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host", "x" * 300, "a..b"])
def test_foreign_address_is_an_input_error(host: str, health: Health) -> None:
    with pytest.raises(InputError, match="http_host"):
        HealthServer(health, host=host, port=0)


def test_agent_serves_on_configured_address_only(tmp_path: Path) -> None:
    port = free_port()
    with (
        notify_socket() as systemd,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none", "--http-port", str(port),
            "--stdout", "--publish", "always", folder=tmp_path, NOTIFY_SOCKET=systemd.address,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        agent.messages(1)
        status, _, body = ask(port, "/metrics")
        assert status == 200
        assert read_metrics(body)["beeagent_frames_total", (("camera", "camera"),)] > 0
        listening = {line.split()[1] for line in _listeners(agent.process.pid)}
        assert listening == {f"0100007F:{port:04X}"}


def test_without_http_port_nothing_listens(tmp_path: Path) -> None:
    with (
        notify_socket() as systemd,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none",
            folder=tmp_path, NOTIFY_SOCKET=systemd.address,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        assert _listeners(agent.process.pid) == []


def test_port_in_use_exits_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_beeagent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none",
            "--http-port", str(taken.getsockname()[1]), folder=tmp_path,
        )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "in use" in ended.stderr


def _listeners(process: int) -> list[str]:
    """Return the lines of /proc/net/tcp and tcp6 for the sockets on which a process listens."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()]
    return [line for line in lines if line.split()[3] == "0A" and line.split()[9] in sockets]


def test_random_bytes_do_not_fail_a_thread(port: int) -> None:
    """A failing thread ends the agent, so no client may cause one."""

    @given(st.binary(min_size=1, max_size=400) | st.binary(max_size=200).map(b"GET /metrics HTTP/1.1\r\n".__add__))
    def send(nonsense: bytes) -> None:
        with silent_client(port) as client:
            send_and_read(client, nonsense)

    with ThreadGuard(lambda _: None):  # which raises what has failed when it is left
        send()
        assert ask(port, "/healthz")[0] == 200
