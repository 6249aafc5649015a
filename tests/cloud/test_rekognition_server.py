"""The stand-in for Rekognition is itself held against botocore: a double that is wrong proves nothing."""

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

JPEG = b"\xff\xd8\xff\xe0 as good as a picture \xff\xd9"
LIMIT = 5_242_880


def client(
    server: RekognitionServer, *, secret: str = SECRET_KEY, validate: bool = True, timeout: float = 20
) -> BaseClient:
    return boto3.session.Session(ACCESS_KEY, secret, region_name="eu-west-1").client(
        "rekognition",
        endpoint_url=server.url,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=timeout, parameter_validation=validate),
    )


def ask(client: BaseClient, image: bytes = JPEG, **more: object) -> dict[str, Any]:
    return client.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image={"Bytes": image}, **more)


def test_says_what_the_article_prints(server: RekognitionServer) -> None:
    assert ask(client(server), MinConfidence=40.0)["CustomLabels"] == ARTICLE_ANSWER
    (request,) = server.requests
    assert request.image == JPEG
    assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 40.0}


def test_gives_every_error_of_the_operation(server: RekognitionServer) -> None:
    assert len(error_codes()) == 11
    asking = client(server)
    for code in error_codes():
        server.will(Fault(code))
        with pytest.raises(getattr(asking.exceptions, code)) as caught:
            ask(asking)
        assert caught.value.response["Error"] == {"Code": code, "Message": "said by the test"}


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
def test_refuses_what_the_service_model_does_not_allow(
    server: RekognitionServer, image: bytes, more: dict[str, Any], code: str
) -> None:
    with pytest.raises((ClientError, ParamValidationError)) as caught:
        ask(client(server, validate=False), image, **more)
    assert code in str(caught.value)
    assert not server.requests


def test_takes_an_image_of_just_the_limit(server: RekognitionServer) -> None:
    ask(client(server), JPEG + bytes(LIMIT - len(JPEG)))
    assert len(server.requests[0].image) == LIMIT


def test_refuses_a_wrong_signature(server: RekognitionServer) -> None:
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        ask(client(server, secret="another"))  # noqa: S106 - opens nothing
    assert not server.requests


def test_refuses_what_is_not_its_protocol(server: RekognitionServer) -> None:
    request = urllib.request.Request(server.url, b"{}", {"Content-Type": "application/json"})  # noqa: S310 - our own
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)  # noqa: S310 - our own
    assert b"UnknownOperationException" in caught.value.read()


def test_is_slow_resets_and_talks_rubbish(server: RekognitionServer) -> None:
    hold = Hold()
    server.will(hold, Reset(), Rubbish(b"<html>"), Labels([]))
    with pytest.raises(ReadTimeoutError):
        ask(client(server, timeout=0.2))
    hold.let_go.set()
    with pytest.raises(ConnectionClosedError):
        ask(client(server))
    assert "CustomLabels" not in ask(client(server))  # botocore lets it pass
    assert ask(client(server))["CustomLabels"] == []


def test_notes_an_answer_that_the_service_would_not_give(server: RekognitionServer) -> None:
    server.will(Labels([{"Name": 3}]))
    ask(client(server))
    assert "Name" in server.mistakes.pop()


def test_reads_pictures_that_lie_in_s3(aws: None) -> None:  # noqa: ARG001 - what is asked is signed
    stored = {"a.jpg": JPEG, "b.jpg": b"no picture", "c.jpg": JPEG.ljust(15 * 1024 * 1024 + 1)}
    with RekognitionServer(object_of=lambda where: stored.get(where["Name"])) as server:
        asking = client(server, validate=False)

        def ask_about(**image: object) -> None:
            asking.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image=image)

        ask_about(S3Object={"Bucket": "my-bees", "Name": "a.jpg", "Version": "1"})
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
                ask_about(**image)
            assert caught.value.response["Error"]["Code"] == code
    (request,) = server.requests
    assert request.image == JPEG
    assert request.s3_object == {"Bucket": "my-bees", "Name": "a.jpg", "Version": "1"}
