"""Moto's HTTP server on a local port, and an environment in which boto3 uses it."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.botocore_models import share_models
from support.rekognition_server import ACCESS_KEY, SECRET_KEY

REGION: Final = "eu-west-1"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """A server of S3, SQS, KMS, CloudFormation and the rest, on a port of this machine; its address."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes a second, in each worker of pytest-xdist

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    tell_moto(address, "config", {"lambda": {"use_docker": False}})
    yield address
    server.stop()


def tell_moto(address: str, what: str, body: object = None) -> None:
    """Call a control operation of moto."""
    request = urllib.request.Request(  # noqa: S310 - the server above
        f"{address}/moto-api/{what}", data=json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310 - likewise
        pass


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An environment in which boto3 uses an empty moto for all services."""
    share_models(monkeypatch)
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": moto,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    tell_moto(moto, "reset")
    return moto
