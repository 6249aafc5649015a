"""The fake Rekognition server, checked against botocore."""

import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ParamValidationError,
    ReadTimeoutError,
)
from support.rekognition_server import (
    ACCESS_KEY,
    ARTICLE_ANSWER,
    PROJECT_VERSION_ARN,
    SECRET_KEY,
    Fault,
    Hold,
    Labels,
    RekognitionServer,
    Reset,
    Rubbish,
    error_codes,
)

pytestmark = pytest.mark.aws

JPEG = b"\xff\xd8\xff\xe0 instead of an image \xff\xd9"
LIMIT = 5_242_880


def client(
    server: RekognitionServer, *, secret: str = SECRET_KEY, validate: bool = True, timeout: float = 20
) -> BaseClient:
    return boto3.session.Session(ACCESS_KEY, secret, region_name="eu-west-1").client(
        "rekognition",
        endpoint_url=server.url,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=timeout, parameter_validation=validate),
    )


def detect(client: BaseClient, image: bytes = JPEG, **more: object) -> dict[str, Any]:
    return client.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image={"Bytes": image}, **more)


def test_default_response_matches_the_article(server: RekognitionServer) -> None:
    assert detect(client(server), MinConfidence=40.0)["CustomLabels"] == ARTICLE_ANSWER
    (request,) = server.requests
    assert request.image == JPEG
    assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 40.0}


def test_every_error_of_the_operation_can_be_returned(server: RekognitionServer) -> None:
    assert len(error_codes()) == 11
    connected = client(server)
    for code in error_codes():
        server.will(Fault(code))
        with pytest.raises(getattr(connected.exceptions, code)) as caught:
            detect(connected)
        assert caught.value.response["Error"] == {"Code": code, "Message": "sent by the test"}


@pytest.mark.parametrize(
    ("image", "more", "code"),
    [
        (JPEG + bytes(LIMIT), {}, "ImageTooLargeException"),
        (b"GIF89a", {}, "InvalidImageFormatException"),
        (JPEG, {"MinConfidence": 100.5}, "InvalidParameterException"),
        (JPEG, {"MinConfidence": -1.0}, "InvalidParameterException"),
        (JPEG, {"MaxResults": "many"}, "InvalidParameterException"),
    ],
)
def test_request_that_violates_the_service_model_is_refused(
    server: RekognitionServer, image: bytes, more: dict[str, Any], code: str
) -> None:
    with pytest.raises((ClientError, ParamValidationError)) as caught:
        detect(client(server, validate=False), image, **more)
    assert code in str(caught.value)
    assert not server.requests


def test_image_of_exactly_the_limit_is_accepted(server: RekognitionServer) -> None:
    detect(client(server), JPEG + bytes(LIMIT - len(JPEG)))
    assert len(server.requests[0].image) == LIMIT


def test_wrong_signature_is_refused(server: RekognitionServer) -> None:
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        detect(client(server, secret="another"))  # noqa: S106 - opens nothing
    assert not server.requests


def test_other_protocol_is_refused(server: RekognitionServer) -> None:
    request = urllib.request.Request(server.url, b"{}", {"Content-Type": "application/json"})  # noqa: S310 - local server
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)  # noqa: S310 - local server
    assert b"UnknownOperationException" in caught.value.read()


def test_slow_reset_and_malformed_responses(server: RekognitionServer) -> None:
    hold = Hold()
    server.will(hold, Reset(), Rubbish(b"<html>"), Labels([]))
    with pytest.raises(ReadTimeoutError):
        detect(client(server, timeout=0.2))
    hold.let_go.set()
    with pytest.raises(ConnectionClosedError):
        detect(client(server))
    assert "CustomLabels" not in detect(client(server))  # botocore does not notice
    assert detect(client(server))["CustomLabels"] == []


def test_invalid_response_of_a_test_is_noted(server: RekognitionServer) -> None:
    server.will(Labels([{"Name": 3}]))
    detect(client(server))
    assert "Name" in server.mistakes.pop()


def test_images_are_read_from_s3(aws: None) -> None:  # noqa: ARG001 - requests are signed
    stored = {"a.jpg": JPEG, "b.jpg": b"not an image", "c.jpg": JPEG.ljust(15 * 1024 * 1024 + 1)}
    with RekognitionServer(object_of=lambda where: stored.get(where["Name"])) as server:
        connected = client(server, validate=False)

        def detect_in(**image: object) -> None:
            connected.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image=image)

        detect_in(S3Object={"Bucket": "my-bees", "Name": "a.jpg", "Version": "1"})
        for code, image in (
            ("InvalidImageFormatException", {"S3Object": {"Bucket": "my-bees", "Name": "b.jpg"}}),
            ("ImageTooLargeException", {"S3Object": {"Bucket": "my-bees", "Name": "c.jpg"}}),
            ("InvalidS3ObjectException", {"S3Object": {"Bucket": "my-bees", "Name": "d.jpg"}}),
            ("InvalidParameterException", {"S3Object": {"Bucket": "my bees", "Name": "a.jpg"}}),
            ("InvalidParameterException", {"S3Object": {"Bucket": "my-bees", "Name": "a" * 1025}}),
            ("InvalidParameterException", {"S3Object": {"Bucket": "my-bees", "Name": "a.jpg"}, "Bytes": JPEG}),
            ("InvalidParameterException", {}),
        ):
            with pytest.raises(ClientError) as caught:
                detect_in(**image)
            assert caught.value.response["Error"]["Code"] == code
    (request,) = server.requests
    assert request.image == JPEG
    assert request.s3_object == {"Bucket": "my-bees", "Name": "a.jpg", "Version": "1"}
