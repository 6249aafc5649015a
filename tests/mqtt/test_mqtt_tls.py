"""TLS: accepted and rejected certificates, and the reasons reported."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, MqttOptions, MqttPublisher, parse_broker
from support.beeagent_process import run_beeagent, tiny_model
from support.delivery_line import line_to_broker
from support.mosquitto import Mosquitto, running_mosquitto
from support.mqtt_options import mqtt_options

NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def _broker(
    folder: Path, certificate: trustme.LeafCert, authority: trustme.CA, *, more: str = ""
) -> Iterator[Mosquitto]:
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    settings = f"allow_anonymous true\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\ncafile {folder}/ca.pem\n"
    with running_mosquitto(folder, settings=settings + more) as broker:
        yield broker


def _reason(options: MqttOptions) -> str:
    """Return the reason after the first attempt, which must fail."""
    publisher = MqttPublisher(options=options, status_topic="t", last_will=lambda: b"")
    changed = threading.Event()
    publisher.listen(changed.set)
    publisher.start()
    assert changed.wait(60)
    state = publisher.state
    publisher.stop(farewell=None, timeout=5)
    assert not state.connected
    return state.reason


def test_another_authority_is_named_as_such(tmp_path: Path, authority: trustme.CA) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with _broker(tmp_path, authority.issue_cert("127.0.0.1"), authority) as broker:
        reason = _reason(mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "other.pem"))
    assert "a certificate authority that is not trusted here" in reason
    assert "mqtt_ca_file" in reason


@pytest.mark.parametrize(
    ("days", "words"),
    [((-20, -10), ("has expired", "renew it", "clock")), ((10, 20), ("not valid yet", "set this device's clock"))],
)
def test_expired_certificate_is_reported(
    tmp_path: Path, authority: trustme.CA, days: tuple[int, int], words: tuple[str, ...]
) -> None:
    begin, end = (NOW + timedelta(days=number) for number in days)
    certificate = authority.issue_cert("127.0.0.1", not_before=begin, not_after=end)
    with _broker(tmp_path, certificate, authority) as broker:
        reason = _reason(mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem"))
    assert [word for word in words if word not in reason] == []


@pytest.mark.parametrize(("host", "certified"), [("127.0.0.1", "broker.example"), ("localhost", "127.0.0.1")])
def test_another_host_is_named_as_such(tmp_path: Path, authority: trustme.CA, host: str, certified: str) -> None:
    with _broker(tmp_path, authority.issue_cert(certified), authority) as broker:
        address = BrokerAddress(host, broker.port, tls=True)
        reason = _reason(mqtt_options(address=address, client_id="x", ca_file=tmp_path / "ca.pem"))
    assert f"is for another host than {host}" in reason
    assert "use a name of the broker that is in its certificate" in reason


def test_missing_or_untrusted_client_certificate_is_reported(tmp_path: Path, authority: trustme.CA) -> None:
    stranger = trustme.CA().issue_cert("hive-7")
    stranger.private_key_pem.write_to_path(tmp_path / "hive-key.pem")
    stranger.cert_chain_pems[0].write_to_path(tmp_path / "hive.pem")
    with _broker(tmp_path, authority.issue_cert("127.0.0.1"), authority, more="require_certificate true") as broker:
        without = mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem")
        # A broker that closes at once may take its own words with it: then there is only a guess.
        guess = "closed the connection without an answer (one that requires another client certificate"
        reason = _reason(without)
        assert "requires a client certificate: set mqtt_certificate_file" in reason or guess in reason
        strange = mqtt_options(
            address=broker.address,
            client_id="x",
            ca_file=tmp_path / "ca.pem",
            certificate_file=tmp_path / "hive.pem",
            key_file=tmp_path / "hive-key.pem",
        )
        reason = _reason(strange)
        assert "does not accept the client certificate" in reason or guess in reason


def test_tls_to_a_plain_port_and_plain_to_a_tls_port(
    tmp_path: Path, authority: trustme.CA, mosquitto: Mosquitto
) -> None:
    tls = mqtt_options(address=BrokerAddress("127.0.0.1", mosquitto.port, tls=True), client_id="x")
    assert "give a port that speaks TLS" in _reason(tls)
    mosquitto.stop()
    with _broker(tmp_path, authority.issue_cert("127.0.0.1"), authority) as broker:
        plain = MqttOptions(address=BrokerAddress("127.0.0.1", broker.port, tls=False), client_id="x")
        assert "(a port for mqtts:// or " in _reason(plain)


def test_server_without_tls_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        address = BrokerAddress("127.0.0.1", int(listener.getsockname()[1]), tls=True)
        assert "give a port that speaks TLS" in _reason(mqtt_options(address=address, client_id="x"))


def test_insecure_tls_connects_and_warns(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    with _broker(tmp_path, authority.issue_cert("other.example"), authority) as broker:
        for _ in range(2):
            caplog.clear()
            options = mqtt_options(address=broker.address, client_id="x", insecure_tls=True)
            with line_to_broker(options) as line:
                line.put()
                line.wait_empty()
            assert "insecure_tls is set" in caplog.text
        caplog.clear()
        right = mqtt_options(address=broker.address, client_id="x", ca_file=tmp_path / "ca.pem")
        assert right.tls is not None
        assert (right.tls.verify_mode, right.tls.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert right.warnings == ()


@pytest.mark.parametrize(
    ("url", "username", "warned"),
    [
        ("mqtt://broker.local", "bee", 1),
        ("mqtt://bee@192.168.1.7", None, 1),
        ("mqtt://127.0.0.1", "bee", 0),
        ("mqtt://[::1]", "bee", 0),
        ("mqtt://localhost", "bee", 0),
        ("mqtt://broker.local", None, 0),
        ("mqtts://broker.local", "bee", 0),
    ],
)
def test_credentials_in_clear_text_to_another_host_warn(url: str, username: str | None, warned: int) -> None:
    address = parse_broker(url)
    assert isinstance(address, BrokerAddress)
    known = username or address.username
    options = mqtt_options(address=address, client_id="x", username=username, password=known and "s3cret")
    assert [("clear text" in line, "s3cret" in line) for line in options.warnings] == [(True, False)] * warned


@pytest.mark.parametrize("port", [443, 8883])
def test_port_443_with_client_certificate_uses_the_alpn_protocol_of_aws(
    tmp_path: Path, authority: trustme.CA, port: int
) -> None:
    hive = authority.issue_cert("hive-7")
    hive.private_key_pem.write_to_path(tmp_path / "key.pem")
    hive.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = mqtt_options(
        address=BrokerAddress("127.0.0.1", port, tls=True),
        client_id="x",
        ca_file=tmp_path / "ca.pem",
        certificate_file=tmp_path / "cert.pem",
        key_file=tmp_path / "key.pem",
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    server.set_alpn_protocols(["x-amzn-mqtt-ca"])
    assert options.tls is not None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chosen: list[str | None] = []

        def serve() -> None:
            with server.wrap_socket(theirs, server_side=True) as connection:
                chosen.append(connection.selected_alpn_protocol())

        thread = threading.Thread(target=serve)
        thread.start()
        with options.tls.wrap_socket(ours, server_hostname="127.0.0.1"):
            thread.join(60)
    assert chosen == ["x-amzn-mqtt-ca" if port == 443 else None]


def test_insecure_tls_contradicts_plain_address_and_ca_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no TLS anyway"):
        mqtt_options(address=BrokerAddress("h", 1, tls=False), client_id="x", insecure_tls=True)
    with pytest.raises(InputError, match="set one of them"):
        mqtt_options(address=BrokerAddress("h", 1, tls=True), client_id="x", insecure_tls=True, ca_file=tmp_path)


def test_command_line_sets_the_ca_file(tmp_path: Path, authority: trustme.CA) -> None:
    with _broker(tmp_path, authority.issue_cert("127.0.0.1"), authority) as broker:
        command = [
            "--camera", "synthetic:64x48", *tiny_model(tmp_path), "--broker", str(broker.address), "--frames", "2",
            "--publish", "always",
        ]  # fmt: skip
        ended = run_beeagent(*command, "--mqtt-ca-file", tmp_path / "ca.pem", folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "connected to mqtts://" in ended.stderr
        assert "wait for the broker" not in ended.stderr
        ended = run_beeagent(*command, "--insecure-tls", folder=tmp_path)
        assert "insecure_tls is set" in ended.stderr
        assert "connected to mqtts://" in ended.stderr
        ended = run_beeagent(*command, folder=tmp_path)
        assert "a certificate authority that is not trusted here" in ended.stderr
        connection = ["--broker", str(broker.address), "--mqtt-ca-file", tmp_path / "ca.pem"]
        ended = run_beeagent("doctor", *tiny_model(tmp_path), *connection, folder=tmp_path)
        assert "accepts the connection" in ended.stdout
