import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from bee_detection_inference import handler
from cloud_stack import BUCKET, REGION, Stack
from moto.server import ThreadedMotoServer
from rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, RekognitionServer


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """A server of S3, SQS, KMS, CloudFormation and the rest, on a port of this machine; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    _tell(address, "config", {"lambda": {"use_docker": False}})
    yield address
    server.stop()


def _tell(address: str, what: str, said: object = None) -> None:
    request = urllib.request.Request(  # noqa: S310 - the server above
        f"{address}/moto-api/{what}", data=json.dumps(said).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310 - likewise
        pass


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An environment in which boto3 asks an empty moto, whatever the service."""
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
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    _tell(moto, "reset")
    return moto


@pytest.fixture
def stack(aws: str) -> Stack:  # noqa: ARG001 - what is made is made there
    return Stack(polled=False, S3BucketName=BUCKET, ProjectVersionArn=PROJECT_VERSION_ARN)


@pytest.fixture
def rekognition(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[RekognitionServer]:
    """Rekognition, which reads pictures from the bucket; with the function's environment as the template says it."""
    reader = boto3.client("s3")

    def stored(where: Mapping[str, str]) -> bytes | None:
        version = {"VersionId": where["Version"]} if "Version" in where else {}
        try:
            return bytes(reader.get_object(Bucket=where["Bucket"], Key=where["Name"], **version)["Body"].read())
        except reader.exceptions.ClientError:
            return None

    with RekognitionServer(object_of=stored) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", server.url)
        for name, value in stack.properties("Function")["Environment"]["Variables"].items():
            monkeypatch.setenv(name, str(value))
        handler._warm.cache_clear()
        yield server
        handler._warm.cache_clear()
