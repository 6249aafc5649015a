"""Credentials come as on a Greengrass device, are renewed for hours, and never reach a log."""

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
from beeagent.cloud.reason import NoOpinionError
from beeagent.cloud.rekognition import RekognitionClient, RekognitionOptions
from beeagent.log import configure_log
from support.rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, Fault, RekognitionServer
from support.token_exchange_server import AUTHORIZATION_TOKEN, TokenExchangeServer


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 10, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which botocore judges whether credentials expire."""
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
    """Everything that is logged, by whomever, at any level; set up as the agent sets its log up, then opened wide."""
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


def look(client: RekognitionClient) -> int:
    frame = Frame(np.zeros((64, 64, 3), np.uint8), datetime.now(timezone.utc), time.monotonic_ns(), 0)
    try:
        return len(client.look(frame, ("bee",)))
    except NoOpinionError as error:
        logging.getLogger("beeagent.test").warning("no opinion: %s (%s)", error.reason, error)
        raise


def client(server: RekognitionServer) -> RekognitionClient:
    return RekognitionClient(
        RekognitionOptions(project_version_arn=PROJECT_VERSION_ARN, endpoint_url=server.url, timeout=20)
    )


def test_credentials_are_renewed_over_hours_and_no_call_fails(
    clock: Clock, exchange: TokenExchangeServer, log: io.StringIO
) -> None:
    with RekognitionServer(secret_of=exchange.secret_of, refusal_of=exchange.refusal_of) as server:
        asking = client(server)
        for _ in range(6 * 12):  # six hours in steps of five minutes
            assert look(asking) == 1
            clock.now += timedelta(minutes=5)
        assert not server.refused
        used = [request.access_key for request in server.requests]
    assert 6 <= len(exchange.issued) <= 9
    assert list(dict.fromkeys(used)) == exchange.issued
    assert exchange.unauthorized == 0
    assert not [secret for secret in exchange.secrets if secret in log.getvalue()]


def test_without_renewal_it_says_credentials_and_heals_by_itself(
    clock: Clock, exchange: TokenExchangeServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    with RekognitionServer(secret_of=exchange.secret_of, refusal_of=exchange.refusal_of) as server:
        asking = client(server)
        assert look(asking) == 1
        exchange.failing = True
        clock.now += timedelta(hours=2)
        for _ in range(2):
            with pytest.raises(NoOpinionError) as caught:
                look(asking)
            assert caught.value.reason == "credentials"
        exchange.failing = False
        assert look(asking) == 1
    assert "no opinion: credentials" in log.getvalue()
    assert not [secret for secret in exchange.secrets if secret in log.getvalue()]


def test_a_provider_that_starts_later_than_the_agent_is_found(
    exchange: TokenExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    exchange.failing = True
    with RekognitionServer(secret_of=exchange.secret_of) as server:
        asking = client(server)
        with pytest.raises(NoOpinionError) as caught:
            look(asking)
        assert caught.value.reason == "credentials"
        exchange.failing = False
        assert look(asking) == 1


def test_no_credentials_at_all(server: RekognitionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NoOpinionError) as caught:
        look(client(server))
    assert caught.value.reason == "credentials"
    assert not server.requests


def test_what_the_service_quotes_of_a_signed_request_stays_out_of_the_log(
    server: RekognitionServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "SECRET-session-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET-that-is-wrong")
    with pytest.raises(NoOpinionError) as caught:
        look(client(server))
    assert caught.value.reason == "credentials"
    assert "SECRET-session-token" in server.refused[0].message  # it would be there to be shown
    server.will(Fault("AccessDeniedException", f"{ACCESS_KEY} {SECRET_KEY}"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with pytest.raises(NoOpinionError):
        look(client(server))
    assert "InvalidSignatureException" in log.getvalue()
    assert not [secret for secret in ("SECRET-", SECRET_KEY) if secret in log.getvalue()]


def test_the_log_would_show_secrets_were_it_not_kept_from_it(server: RekognitionServer, log: io.StringIO) -> None:
    """The proof's own proof: at debug level, botocore does write what it signs."""
    asking = client(server)
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    look(asking)
    assert ACCESS_KEY in log.getvalue()


def test_a_damaged_configuration_file_is_told_in_one_line(
    server: RekognitionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "config"
    damaged.write_text("[default\naws_secret_access_key = SECRET-in-a-file")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(damaged))
    with pytest.raises(Exception, match="boto3 cannot be set up") as caught:
        client(server)
    assert "SECRET" not in str(caught.value)
