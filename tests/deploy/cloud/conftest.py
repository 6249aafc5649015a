from collections.abc import Iterator, Mapping

import boto3
import pytest
from bee_detection_inference import handler
from support.cloud_stack import BUCKET, Stack
from support.moto_aws import aws, moto
from support.rekognition_server import PROJECT_VERSION_ARN, RekognitionServer

__all__ = ["aws", "moto"]


@pytest.fixture
def stack(aws: str) -> Stack:  # noqa: ARG001 - what is made is made there
    return Stack(polled=False, S3BucketName=BUCKET, ProjectVersionArn=PROJECT_VERSION_ARN)


@pytest.fixture
def rekognition(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[RekognitionServer]:
    """Rekognition that reads images from the bucket, with the environment of the function as in the template."""
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
