"""Attacks on the page through real sockets, against the promises in SECURITY.md."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trustme
from beeagent import __version__
from beeagent.threads import ThreadGuard
from beeagent.web.access import write_password
from hypothesis import given, settings
from hypothesis import strategies as st
from support.early_close import send_and_read
from support.page_client import DEADLINE, PageClient, PretendedAgent, page_of, serving

SECRETS = (b"secret-device", b"bees@12345678", b"camera: gone", __version__.encode())
GETS = (
    "/api/live",
    "/api/state",
    "/api/traffic",
    "/api/places",
    "/api/session",
    "/healthz",
    "/metrics",
    "/api/nothing",
)


@pytest.fixture(autouse=True)
def _no_thread_fails() -> Iterator[None]:
    """A failing thread ends the agent, so no client may cause one."""
    with ThreadGuard(lambda _: None):
        yield


def _assert_open(editor: PageClient) -> None:
    assert editor.ask("GET", "/api/session").json == {"role": "editor"}


def test_stranger_gets_no_frame_no_count_and_no_version(agent: PretendedAgent, stranger: PageClient) -> None:
    agent.live.newest()
    agent.show(0.9)
    answers = [stranger.ask("GET", path) for path in GETS]
    answers += [stranger.ask("PUT", "/api/places", {}), stranger.ask("PUT", "/api/threshold", {"value": 0.1})]
    answers += [stranger.ask("POST", "/api/threshold/preview", {"value": 0.1}), stranger.ask("DELETE", "/api/session")]
    assert {answer.status for answer in answers} == {401}
    answers += [stranger.ask("GET", "/"), stranger.ask("GET", "/static/page.js"), stranger.ask("OPTIONS", "/")]
    for answer in answers:
        text = answer.body + repr(answer.headers).encode()
        assert not any(secret in text for secret in SECRETS)
        assert b"Python" not in text


@pytest.mark.parametrize(
    "cookie", ["", "x", "beeagent-{port}=", "beeagent-{port}=guess", "beeagent-{port}={token}", ";;="]
)
def test_guessed_session_is_refused(cookie: str, stranger: PageClient) -> None:
    stranger.cookie = cookie.format(port=stranger.port, token=stranger.token)
    assert stranger.ask("GET", "/api/state").status == 401


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "http://localhost:{port}", None, ""],
)
def test_change_from_another_origin_is_403(origin: str | None, agent: PretendedAgent, editor: PageClient) -> None:
    headers = {"Origin": None if origin is None else origin.format(port=editor.port)}
    assert editor.ask("PUT", "/api/threshold", {"value": 0.4}, headers=headers).status == 403
    assert editor.ask("DELETE", "/api/session", headers=headers).status == 403
    assert agent.thresholds == []
    _assert_open(editor)


def test_change_by_a_form_is_refused(agent: PretendedAgent, editor: PageClient) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=a", None):
        headers = {"Content-Type": kind}
        assert editor.ask("PUT", "/api/threshold", {"value": 0.4}, headers=headers).status == 415
    assert editor.ask("PUT", "/api/threshold", {"value": 0.4}, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert agent.thresholds == []


def test_other_site_can_link_to_the_page_and_read_nothing(editor: PageClient) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        assert editor.ask("GET", "/", headers=headers).status == 200
        assert editor.ask("GET", "/api/state", headers=headers).status == 403
    assert editor.ask("GET", "/api/state", headers={"Origin": "http://evil.example"}).status == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.2:{port}", "[::1]:1", "", None,
        "a b", "127.1:{port}", "user@127.0.0.1:{port}", "127.0.0.1:{port}.evil.example", "127.0.0.1:{port}/",
    ],
)  # fmt: skip
def test_rebound_name_is_403(host: str | None, editor: PageClient) -> None:
    headers = {"Host": None if host is None else host.format(port=editor.port)}
    for path in ("/", "/api/state"):
        assert editor.ask("GET", path, headers=headers).status == 403


def test_names_of_the_settings_are_allowed(agent: PretendedAgent, caplog: pytest.LogCaptureFixture) -> None:
    page = page_of(agent, host="0.0.0.0", hosts="Bees.example.org, hive.lan:8443")  # noqa: S104
    with serving(page, caplog):
        client = PageClient(page.port)
        hosts = {
            "bees.example.org": 200, f"BEES.example.org:{page.port}": 200, "hive.lan:8443": 200, "hive.lan": 403,
            f"127.0.0.1:{page.port}": 200, f"localhost:{page.port}": 200, f"192.0.2.7:{page.port}": 403,
        }  # fmt: skip
        assert {host: client.ask("GET", "/", headers={"Host": host}).status for host in hosts} == hosts
        assert "without encryption" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.py", "/static/..%2fpage.py", "/static/%2e%2e/page.py", "//etc/passwd", "/static//etc/passwd",
        "/static/", "/static", "/static/page.js/", "/static/page.js%00.html", "\\static\\page.js", "/static/page.py",
        "/static/PAGE.JS", "/../../../../etc/passwd", "/page.html", "http://evil.example/static/page.js", "*",
    ],
)  # fmt: skip
def test_path_of_a_client_opens_no_file(path: str, stranger: PageClient, editor: PageClient) -> None:
    assert stranger.ask("GET", path).status == 401
    assert editor.ask("GET", path).status == 404


def test_guesses_are_slowed_and_the_owner_gets_in(
    agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_password(tmp_path / "passwords", "viewer", "look at bees")
    page = page_of(agent, password_file=tmp_path / "passwords")
    with serving(page, caplog) as token:
        client = PageClient(page.port)
        answers = [client.sign_in(**{kind: f"guess number {i}"}) for i in range(8) for kind in ("token", "password")]
        statuses = [answer.status for answer in answers]
        assert statuses[:5] == [401] * 5
        assert statuses.count(429) >= 8
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status == 429)
        assert client.sign_in(password="look at bees").status == 429  # not even the right one
        assert client.sign_in(token=token).status == 200  # the link is good at any time


def test_guesses_at_the_same_time_are_counted_one_by_one(
    agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_password(tmp_path / "passwords", "editor", "look at bees")
    page = page_of(agent, password_file=tmp_path / "passwords")
    with serving(page, caplog), ThreadPoolExecutor(16) as pool:
        guesses = [pool.submit(PageClient(page.port).sign_in, password=f"guess number {i}") for i in range(16)]
        statuses = [guess.result().status for guess in guesses]
    # Five are free, and one each second or more while the test runs.
    assert 5 <= statuses.count(401) <= 8
    assert statuses.count(429) == 16 - statuses.count(401)


def test_token_is_not_a_password_and_link_not_a_session(stranger: PageClient) -> None:
    token = stranger.token
    for body in ({"password": token}, {"token": token + "x"}, {"token": token[:-1]}, {"token": ""}):
        assert stranger.ask("POST", "/api/session", body).status == 401
    for wrong in (
        {},
        {"token": token, "password": "p"},
        {"token": [token]},
        {"token": None},
        {"token": token, "role": "editor"},
    ):
        assert stranger.ask("POST", "/api/session", wrong).status == 422


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: " + b"a" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000,
        b"GET /" + b"a" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(120)) + b"\r\n",
    ],
)
def test_long_headers_end_their_connection(request_head: bytes, editor: PageClient) -> None:
    with editor.connect() as client:
        answer = send_and_read(client, request_head)
    assert b"200 OK" not in answer
    _assert_open(editor)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 65537\r\n", b"413"),
        (b"Content-Length: 999999999999999\r\n", b"413"),
        (b"Content-Length: -1\r\n", b"400"),
        (b"Content-Length: 1_0\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 50\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n", b"501"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"501"),
    ],
)
def test_huge_and_smuggled_bodies_are_refused(head: bytes, status: bytes, editor: PageClient) -> None:
    with editor.connect() as client:
        line = b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % editor.port
        answer = send_and_read(client, line + head + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1  # what followed was not taken for another request
    _assert_open(editor)


def test_slow_request_is_dropped(editor: PageClient) -> None:
    with editor.connect() as client:
        client.sendall(b"POST /api/session HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{")
        assert client.recv(1) == b""  # without a limit, it would last for as long as the client likes
    _assert_open(editor)


@pytest.mark.faults
def test_thousand_connections_do_not_lock_out_sessions(agent: PretendedAgent, editor: PageClient) -> None:
    before = threading.active_count()
    assert editor.cookie is not None
    with ExitStack() as clients, editor.connect() as viewer:
        head = f"GET /api/session HTTP/1.1\r\nHost: 127.0.0.1:{editor.port}\r\nCookie: {editor.cookie}\r\n\r\n".encode()
        assert b"editor" in _answered(viewer, head)
        for _ in range(1000):
            with suppress(OSError):
                clients.enter_context(editor.connect())
        assert b"editor" in _answered(viewer, head)  # on the same connection
        assert threading.active_count() < before + 80
        agent.live.newest()
        agent.show(0.9)
        assert agent.live.newest() is not None


def test_client_with_many_connections_displaces_its_own(stranger: PageClient) -> None:
    """The connection of the owner, who is about to sign in from another address, is kept."""
    with ExitStack() as clients:
        owner = clients.enter_context(
            socket.create_connection(("127.0.0.1", stranger.port), DEADLINE, source_address=("127.0.0.2", 0))
        )
        others = [clients.enter_context(stranger.connect()) for _ in range(100)]
        assert others[0].recv(1) == b""
        answer = send_and_read(owner, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{stranger.port}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_viewers_that_do_not_read_delay_nothing(agent: PretendedAgent, editor: PageClient) -> None:
    """Ten viewers ask for frames and never read them: the pipeline's thread does not wait for any."""
    agent.live.newest()
    with ExitStack() as clients:
        for _ in range(10):
            viewer = clients.enter_context(socket.socket())
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            viewer.connect(("127.0.0.1", editor.port))
            request = f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{editor.port}\r\nCookie: {editor.cookie}\r\n\r\n"
            viewer.sendall(request.encode() * 20)
        slowest = 0.0
        for _ in range(200):
            began = time.monotonic()
            agent.show(0.9, side=480)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2
        _assert_open(editor)


def test_random_requests_end_no_thread(editor: PageClient) -> None:
    methods = st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"\x00"])
    paths = st.sampled_from([b"/", b"/api/places", b"/api/live?after=", b"/api/session", b"*", b"//"])
    own = (f"Host: 127.0.0.1:{editor.port}\r\nCookie: {editor.cookie}\r\nOrigin: {editor.origin}\r\n").encode()
    heads = st.sampled_from([b"", own, own + b"Content-Type: application/json\r\n"])
    junk = st.binary(max_size=120)
    requests = st.tuples(methods, junk, paths, junk, heads, junk).map(
        lambda p: p[0] + b" " + p[2] + p[1] + b" HTTP/1.1\r\n" + p[4] + p[3] + b"\r\n\r\n" + p[5]
    )
    requests = requests.filter(lambda request: not request.startswith(b"DELETE /api/session"))  # signs out

    @settings(max_examples=80, deadline=None)
    @given(st.binary(min_size=1, max_size=300) | requests)
    def send(nonsense: bytes) -> None:
        with editor.connect() as client:
            send_and_read(client, nonsense)

    send()
    _assert_open(editor)


def test_random_bodies_are_answered(agent: PretendedAgent, editor: PageClient) -> None:
    names = st.sampled_from(["lines", "zones", "masks", "points", "in", "value", "token", "password", "door"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    )
    etag = editor.ask("GET", "/api/places").headers["etag"]

    @settings(max_examples=50, deadline=None)
    @given(values, st.sampled_from(["/api/places", "/api/threshold", "/api/threshold/preview", "/api/session"]))
    def send(body: object, path: str) -> None:
        method = "POST" if path.endswith(("preview", "session")) else "PUT"
        answer = editor.ask(method, path, body, headers={"If-Match": etag})
        assert answer.status in {200, 400, 401, 409, 422, 429}

    send()
    assert all(value is None or 0.01 <= value <= 1 for value in agent.thresholds)


def test_tls_serves_https_alone(agent: PretendedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    (tmp_path / "page.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (tmp_path / "page.key").write_bytes(certificate.private_key_pem.bytes())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    page = page_of(agent, certificate_file=tmp_path / "page.pem", key_file=tmp_path / "page.key")
    with serving(page, caplog) as token:
        client = PageClient(page.port, tls=trusting, name="localhost")
        answer = client.sign_in(token=token)
        assert answer.json == {"role": "editor"}
        assert answer.headers["set-cookie"].startswith("__Host-beeagent-")
        assert "; Secure" in answer.headers["set-cookie"]
        assert client.ask("GET", "/api/state").status == 200
        plain = {"Origin": client.origin.replace("https", "http")}
        assert client.ask("PUT", "/api/threshold", {"value": 0.4}, headers=plain).status == 403
        with client.connect() as silent:  # in the midst of a handshake, which keeps no other waiting
            silent.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert client.ask("GET", "/api/state").status == 200
            assert silent.recv(1) == b""
        with client.connect() as without:
            assert b"200" not in send_and_read(without, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(old)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with client.connect() as tcp, pytest.raises(ssl.SSLError):
            old.wrap_socket(tcp, server_hostname="localhost")
        page.renew()  # with the certificate read again
        assert client.ask("GET", "/api/state").status == 200
    assert json.loads(answer.body)["role"] == "editor"


def _answered(client: socket.socket, request: bytes) -> bytes:
    """Send, and read until the end of a short JSON body."""
    client.settimeout(DEADLINE)
    client.sendall(request)
    answer = b""
    while not answer.endswith(b"}"):
        part = client.recv(65536)
        assert part
        answer += part
    return answer
