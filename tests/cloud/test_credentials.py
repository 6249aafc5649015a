"""Credentials are loaded as on a Greengrass device, are renewed for hours, and never reach a log."""

import io
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import botocore.credentials
import botocore.utils
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud import CloudDetectionError, RekognitionClient
from beeagent.output import configure_log
from beeagent.settings import RekognitionSettings
from support.rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, Fault, RekognitionServer
from support.token_exchange_server import AUTHORIZATION_TOKEN, TokenExchangeServer

pytestmark = pytest.mark.aws


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 10, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that botocore uses for the expiry of credentials."""
    clock = Clock()
    monkeypatch.setattr(botocore.credentials, "_local_now", clock)
    starting = botocore.credentials.RefreshableCredentials.__init__
    given = tuple(clock if getattr(one, "__name__", "") == "_local_now" else one for one in starting.__defaults__)
    assert clock in given
    monkeypatch.setattr(starting, "__defaults__", given)
    return clock


@pytest.fixture
def exchange(aws: None, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenExchangeServer]:  # noqa: ARG001
    with TokenExchangeServer(clock) as exchange:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", exchange.url)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", AUTHORIZATION_TOKEN)
        yield exchange


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, by any library at any level; set up like the agent's log, then set to debug."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("boto3", "botocore", "urllib3", "beeagent")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
    stream = io.StringIO()
    configure_log("text", stream=stream, level=logging.DEBUG)
    root.setLevel(logging.DEBUG)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def detect(client: RekognitionClient) -> int:
    frame = Frame(np.zeros((64, 64, 3), np.uint8), datetime.now(timezone.utc), time.monotonic_ns(), 0)
    try:
        return len(client.detect(frame, ("bee",)))
    except CloudDetectionError as error:
        logging.getLogger("beeagent.test").warning("no result: %s (%s)", error.reason, error)
        raise


def client(server: RekognitionServer) -> RekognitionClient:
    return RekognitionClient(
        RekognitionSettings(project_version_arn=PROJECT_VERSION_ARN, timeout=20), endpoint_url=server.url
    )


def test_credentials_are_renewed_for_hours_and_no_call_fails(
    clock: Clock, exchange: TokenExchangeServer, log: io.StringIO
) -> None:
    with RekognitionServer(secret_of=exchange.secret_of, refusal_of=exchange.refusal_of) as server:
        detector = client(server)
        for _ in range(6 * 12):  # six hours in steps of five minutes
            assert detect(detector) == 1
            clock.now += timedelta(minutes=5)
        assert not server.refused
        used = [request.access_key for request in server.requests]
    assert 6 <= len(exchange.issued) <= 9
    assert list(dict.fromkeys(used)) == exchange.issued
    assert exchange.unauthorized == 0
    assert not [secret for secret in exchange.secrets if secret in log.getvalue()]


def test_failed_renewal_is_reported_as_credentials_and_recovers(
    clock: Clock, exchange: TokenExchangeServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    with RekognitionServer(secret_of=exchange.secret_of, refusal_of=exchange.refusal_of) as server:
        detector = client(server)
        assert detect(detector) == 1
        exchange.failing = True
        clock.now += timedelta(hours=2)
        for _ in range(2):
            with pytest.raises(CloudDetectionError) as caught:
                detect(detector)
            assert caught.value.reason == "credentials"
        exchange.failing = False
        assert detect(detector) == 1
    assert "no result: credentials" in log.getvalue()
    assert not [secret for secret in exchange.secrets if secret in log.getvalue()]


def test_credential_provider_that_starts_after_the_agent_is_found(
    exchange: TokenExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    exchange.failing = True
    with RekognitionServer(secret_of=exchange.secret_of) as server:
        detector = client(server)
        with pytest.raises(CloudDetectionError) as caught:
            detect(detector)
        assert caught.value.reason == "credentials"
        exchange.failing = False
        assert detect(detector) == 1


def test_no_credentials(server: RekognitionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CloudDetectionError) as caught:
        detect(client(server))
    assert caught.value.reason == "credentials"
    assert not server.requests


def test_signed_request_quoted_by_the_service_is_not_logged(
    server: RekognitionServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "SECRET-session-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET-that-is-wrong")
    with pytest.raises(CloudDetectionError) as caught:
        detect(client(server))
    assert caught.value.reason == "credentials"
    assert "SECRET-session-token" in server.refused[0].message  # the service did quote it
    server.will(Fault("AccessDeniedException", f"{ACCESS_KEY} {SECRET_KEY}"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with pytest.raises(CloudDetectionError):
        detect(client(server))
    assert "InvalidSignatureException" in log.getvalue()
    assert not [secret for secret in ("SECRET-", SECRET_KEY) if secret in log.getvalue()]


def test_debug_log_of_botocore_would_show_secrets(server: RekognitionServer, log: io.StringIO) -> None:
    """Proves that the tests above can fail: at debug level, botocore logs what it signs."""
    detector = client(server)
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    detect(detector)
    assert ACCESS_KEY in log.getvalue()


def test_damaged_configuration_file_is_reported_without_its_contents(
    server: RekognitionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "config"
    damaged.write_text("[default\naws_secret_access_key = SECRET-in-a-file")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(damaged))
    with pytest.raises(Exception, match="boto3 cannot be set up") as caught:
        client(server)
    assert "SECRET" not in str(caught.value)
