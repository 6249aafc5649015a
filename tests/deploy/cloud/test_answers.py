"""The Lambda function with real events, queue, objects and clients over HTTP: image in, result beside it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from bee_detection_inference import handler
from bee_detection_inference.inference import MAX_IMAGE_BYTES
from botocore.awsrequest import AWSResponse
from support.cloud_stack import BUCKET, Stack
from support.rekognition_server import ARTICLE_ANSWER, PROJECT_VERSION_ARN, Fault, Labels, RekognitionServer, Rubbish
from support.sqs_event_source import EventSource, TimeLeft

pytestmark = pytest.mark.aws

IMAGE = Path(__file__).parents[3] / "docs" / "bees-found.jpg"
JPEG = b"\xff\xd8\xff\xe0 as good as an image \xff\xd9"
KEY = "test_images/hive.jpg"


@pytest.fixture
def source(stack: Stack, rekognition: RekognitionServer) -> EventSource:  # noqa: ARG001 - whom the function asks
    source = EventSource(stack.outputs["QueueUrl"])
    # What S3 says to a new queue.
    (message,) = source.take()
    assert json.loads(message["body"])["Event"] == "s3:TestEvent"
    assert source.deliver([message]) == []
    return source


@pytest.fixture
def dead_letters(stack: Stack) -> EventSource:
    return EventSource(stack.outputs["DeadLetterQueueUrl"])


@pytest.fixture
def waits(source: EventSource) -> list[int]:  # noqa: ARG001 - comes first
    """The visibility timeouts set by the function, in seconds."""
    asked: list[int] = []
    _, clients = handler._warm()
    clients.sqs.meta.events.register(
        "provide-client-params.sqs.ChangeMessageVisibility",
        lambda params, **_: asked.append(params["VisibilityTimeout"]),
    )
    return asked


def upload(key: str = KEY, image: bytes = JPEG) -> str:
    return str(boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=image)["VersionId"])


def result(key: str = "test_images/hive.json") -> dict[str, Any]:
    result: dict[str, Any] = json.loads(boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return result


def provenance(key: str = "test_images/hive.json") -> dict[str, str]:
    metadata: dict[str, str] = boto3.client("s3").head_object(Bucket=BUCKET, Key=key)["Metadata"]
    return metadata


def keys() -> set[str]:
    return {found["Key"] for found in boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def test_result_is_written_beside_the_image(source: EventSource, rekognition: RekognitionServer) -> None:
    version = upload()
    assert source.run() == []
    assert result() == {"CustomLabels": ARTICLE_ANSWER}
    (request,) = rekognition.requests
    assert request.image == JPEG
    assert request.s3_object == {"Bucket": BUCKET, "Name": KEY, "Version": version}
    assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 50}


def test_the_answer_starts_nothing_and_is_known_as_one(source: EventSource, stack: Stack) -> None:
    version = upload()
    source.run()
    assert (source.waiting(), source.hidden()) == (0, 0)
    s3 = boto3.client("s3")
    head = s3.head_object(Bucket=BUCKET, Key="test_images/hive.json")
    etag = s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"].strip('"')
    assert head["Metadata"] == {
        "picture-etag": etag,
        "picture-version": version,
        "model": PROJECT_VERSION_ARN,
        "min-confidence": "50",
    }
    assert head["ContentType"] == "application/json"
    assert head["SSEKMSKeyId"] == stack.outputs["KeyArn"]
    # By this tag the lifecycle of the bucket removes it some day.
    tags = s3.get_object_tagging(Bucket=BUCKET, Key="test_images/hive.json")["TagSet"]
    (rule,) = [
        rule for rule in stack.properties("Bucket")["LifecycleConfiguration"]["Rules"] if rule["Id"] == "results"
    ]
    assert tags == rule["TagFilters"]


def test_beeagent_show_draws_the_answer(source: EventSource, tmp_path: Path) -> None:
    pytest.importorskip("supervision", reason="needs the extra evaluate")
    upload(image=IMAGE.read_bytes())
    source.run()
    (tmp_path / "hive.json").write_text(json.dumps(result()))
    shown = subprocess.run(
        [sys.executable, "-m", "beeagent", "show", IMAGE, tmp_path / "hive.json", "--out", tmp_path / "found.png"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "1 bee" in shown.stdout
    assert (tmp_path / "found.png").stat().st_size > 0


@pytest.mark.parametrize(
    "name", ["hive 7", "Bienenstöcke für Zoë", "1+1=2 & 100%", "2026-05-04T10:21:07", "蜂の巣", "a/b.c/d", "%20"]
)
def test_names_are_taken_as_they_are(source: EventSource, rekognition: RekognitionServer, name: str) -> None:
    upload(f"test_images/{name}.jpg")
    assert source.run() == []
    assert keys() == {f"test_images/{name}.jpg", f"test_images/{name}.json"}
    assert rekognition.requests[0].s3_object is not None
    assert rekognition.requests[0].s3_object["Name"] == f"test_images/{name}.jpg"


@pytest.mark.parametrize("key", ["hive.jpg", "other/hive.jpg", "test_images/notes.txt", "test_images/hive.json"])
def test_nothing_else_makes_an_event(source: EventSource, key: str) -> None:
    upload(key)
    assert source.waiting() == 0


def test_result_is_never_processed(source: EventSource, rekognition: RekognitionServer) -> None:
    upload()
    (message,) = source.take()
    message["body"] = message["body"].replace("hive.jpg", "hive.json")
    assert source.deliver([message]) == []
    assert not rekognition.requests
    assert keys() == {KEY}


def test_an_event_that_comes_twice_is_answered_once(source: EventSource, rekognition: RekognitionServer) -> None:
    upload()
    batch = source.take()
    assert source.deliver(batch + batch) == []
    assert source.deliver(batch) == []
    assert len(rekognition.requests) == 1


def test_same_image_is_sent_again_to_another_model_or_confidence(
    source: EventSource, rekognition: RekognitionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()
    batch = source.take()
    source.deliver(batch)
    for name, value in (("PROJECT_VERSION_ARN", f"{PROJECT_VERSION_ARN}9"), ("MIN_CONFIDENCE", "80.5")):
        monkeypatch.setenv(name, value)
        handler._warm.cache_clear()
        assert source.deliver(batch) == []
        assert source.deliver(batch) == []
    assert [tuple(request.parameters.values()) for request in rekognition.requests] == [
        (PROJECT_VERSION_ARN, 50),
        (f"{PROJECT_VERSION_ARN}9", 50),
        (f"{PROJECT_VERSION_ARN}9", 80.5),
    ]


@pytest.mark.parametrize("late", [False, True])
def test_current_image_is_processed_once_for_events_in_any_order(
    source: EventSource, rekognition: RekognitionServer, *, late: bool
) -> None:
    upload()
    old = source.take()
    version = upload(image=JPEG + b"newer")
    new = source.take()
    assert source.deliver(new + old if late else old + new) == []
    (request,) = rekognition.requests
    assert request.image == JPEG + b"newer"
    assert provenance()["picture-version"] == version


def test_image_replaced_during_processing_is_processed_again(
    source: EventSource, rekognition: RekognitionServer, waits: list[int]
) -> None:
    upload()
    _, clients = handler._warm()
    versions: list[str] = []

    def replace(**_: object) -> None:
        if not versions:
            versions.append(upload(image=JPEG + b"newer"))
            source.run()  # the newer image is processed first

    clients.rekognition.meta.events.register("after-call.rekognition.DetectCustomLabels", replace)
    (message,) = source.take()
    assert source.deliver([message]) == [message["messageId"]]
    assert len(waits) == 1
    assert provenance()["picture-version"] not in versions
    source.let_the_wait_pass()
    assert source.run() == []
    assert provenance()["picture-version"] == versions[0]
    assert [request.image for request in rekognition.requests] == [JPEG, JPEG + b"newer", JPEG + b"newer"]


def test_image_uploaded_again_is_processed_again(source: EventSource, rekognition: RekognitionServer) -> None:
    for _ in range(2):
        version = upload()
        assert source.run() == []
        assert rekognition.requests[-1].s3_object is not None
        assert rekognition.requests[-1].s3_object["Version"] == version
    assert len(rekognition.requests) == 2


def test_deleted_image_is_no_failure(source: EventSource, rekognition: RekognitionServer) -> None:
    upload()
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    assert source.run() == []
    assert not rekognition.requests
    assert keys() == set()


def test_invalid_image_gets_an_error_result(source: EventSource, rekognition: RekognitionServer) -> None:
    upload(image=b"PK\x03\x04")
    batch = source.take()
    assert source.deliver(batch) == []
    assert result()["Error"]["Code"] == "InvalidImageFormatException"
    assert source.deliver(batch) == []  # and is not asked again
    assert len(rekognition.refused) == 1


def test_image_with_too_many_bytes_is_not_sent(source: EventSource, rekognition: RekognitionServer) -> None:
    upload(image=JPEG.ljust(MAX_IMAGE_BYTES + 1, b"\0"))
    assert source.run() == []
    assert result()["Error"]["Code"] == "ImageTooLargeException"
    assert str(MAX_IMAGE_BYTES) in result()["Error"]["Message"]
    assert not rekognition.requests
    assert not rekognition.refused


def test_largest_image_is_processed(source: EventSource) -> None:
    upload(image=JPEG.ljust(MAX_IMAGE_BYTES, b"\0"))
    assert source.run() == []
    assert result() == {"CustomLabels": ARTICLE_ANSWER}


def test_image_with_too_many_pixels_gets_an_error_result(source: EventSource, rekognition: RekognitionServer) -> None:
    rekognition.will(Fault("ImageTooLargeException", "Maximum dimension is 4096"))
    upload()
    assert source.run() == []
    assert result() == {"Error": {"Code": "ImageTooLargeException", "Message": "Maximum dimension is 4096"}}


def test_valid_image_replaces_the_error_of_an_invalid_one(source: EventSource) -> None:
    upload(image=b"PK\x03\x04")
    source.run()
    upload()
    assert source.run() == []
    assert result() == {"CustomLabels": ARTICLE_ANSWER}


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "ThrottlingException", "LimitExceededException"]
)
def test_throttled_message_is_repeated_soon_and_alone(
    source: EventSource, rekognition: RekognitionServer, waits: list[int], code: str
) -> None:
    for number in range(3):
        upload(f"test_images/{number}.jpg")
    rekognition.will(Labels(()), Fault(code), Labels(()))
    batch = source.take()
    assert source.deliver(batch) == [batch[1]["messageId"]]
    assert (source.waiting(), source.hidden()) == (0, 1)
    assert len(waits) == 1
    assert 0 < waits[0] <= 10
    assert len(keys()) == 5
    source.let_the_wait_pass()
    assert source.run() == []
    assert len(keys()) == 6


def test_stopped_model_is_retried_for_an_hour_then_dead_lettered(
    source: EventSource,
    dead_letters: EventSource,
    rekognition: RekognitionServer,
    waits: list[int],
    stack: Stack,
) -> None:
    tries = stack.properties("Queue")["RedrivePolicy"]["maxReceiveCount"]
    rekognition.answer = Fault("ResourceNotReadyException")
    upload()
    for _ in range(tries):
        assert len(source.run()) == 1
        source.let_the_wait_pass()
    assert source.take() == []
    assert waits == sorted(waits)
    assert sum(waits[:-1]) > 3600
    assert keys() == {KEY}
    # The alarm rings by the first of them. Once the model runs, it is answered.
    assert dead_letters.waiting() == 1
    rekognition.answer = Labels(ARTICLE_ANSWER)
    assert dead_letters.run() == []
    assert result() == {"CustomLabels": ARTICLE_ANSWER}


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException", "InternalServerError", "InvalidParameterException", "InvalidS3ObjectException",
        "ResourceNotFoundException", "ExpiredTokenException", "ServiceUnavailable",
    ],
)  # fmt: skip
def test_no_other_error_loses_an_image(
    source: EventSource, rekognition: RekognitionServer, waits: list[int], code: str
) -> None:
    rekognition.will(Fault(code))
    upload()
    assert len(source.run()) == 1
    assert len(waits) == 1
    assert len(rekognition.requests) == 1  # the queue tries again, boto3 does not
    assert keys() == {KEY}


@pytest.mark.parametrize("body", [b"{ no json", b"[]", b'{"CustomLabels": 7}', b"{}"])
def test_garbled_response_repeats_only_its_image(
    source: EventSource, rekognition: RekognitionServer, body: bytes
) -> None:
    for number in range(2):
        upload(f"test_images/{number}.jpg")
    rekognition.will(Rubbish(body), Labels(()))
    batch = source.take()
    assert source.deliver(batch) == [batch[0]["messageId"]]
    assert "test_images/1.json" in keys()
    assert "test_images/0.json" not in keys()


def test_an_unreachable_service_is_tried_again(source: EventSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", "http://127.0.0.1:9")
    handler._warm.cache_clear()
    upload()
    assert len(source.run()) == 1
    assert source.hidden() == 1


def test_forbidden_bucket_is_not_a_missing_image(
    source: EventSource, rekognition: RekognitionServer, waits: list[int]
) -> None:
    upload()
    _, clients = handler._warm()
    clients.s3.meta.events.register("before-send.s3.HeadObject", _forbidden)
    assert len(source.run()) == 1
    assert len(waits) == 1
    assert not rekognition.requests


def _forbidden(**_: object) -> object:
    class Raw:
        def stream(self, *_: object) -> list[bytes]:
            return []

    return AWSResponse("", 403, {}, Raw())


@pytest.mark.parametrize("body", ["", "{}", "[]", "not json", '{"Records": [{"eventName": "ObjectCreated:Put"}]}'])
def test_message_without_event_fails_alone_in_its_batch(source: EventSource, waits: list[int], body: str) -> None:
    upload()
    (good,) = source.take()
    bad = {**good, "messageId": "bad", "body": body}
    response = handler.handle({"Records": [bad, good]}, TimeLeft())
    assert response == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(waits) == 1
    assert result() == {"CustomLabels": ARTICLE_ANSWER}


def test_without_time_left_a_message_waits_for_the_next_batch(
    source: EventSource, rekognition: RekognitionServer
) -> None:
    for number in range(2):
        upload(f"test_images/{number}.jpg")
    batch = source.take()
    assert source.deliver(batch, TimeLeft([handler.MIN_TIME_MS, handler.MIN_TIME_MS - 1])) == [batch[1]["messageId"]]
    assert len(rekognition.requests) == 1


def test_a_message_that_cannot_be_hidden_fails_all_the_same(
    source: EventSource, rekognition: RekognitionServer
) -> None:
    upload()
    (message,) = source.take()
    rekognition.will(Fault("ThrottlingException"))
    failed = handler.handle({"Records": [{**message, "receiptHandle": "no such handle"}]}, TimeLeft())
    assert failed == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
