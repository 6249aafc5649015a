import time
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud import CloudDetectionError, FailureReason, RekognitionClient
from beeagent.errors import InputError
from beeagent.settings import RekognitionSettings
from support.rekognition_server import (
    PROJECT_VERSION_ARN,
    Answer,
    Fault,
    Hold,
    Labels,
    RekognitionServer,
    Reset,
    Rubbish,
    error_codes,
)

pytestmark = pytest.mark.aws

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)


def frame(pixels: np.ndarray = PIXELS) -> Frame:
    return Frame(pixels, datetime.now(timezone.utc), time.monotonic_ns(), 0)


def client(server: RekognitionServer, *, timeout: float = 20.0, **options: object) -> RekognitionClient:
    settings = RekognitionSettings(project_version_arn=PROJECT_VERSION_ARN, timeout=timeout, **options)
    return RekognitionClient(settings, endpoint_url=server.url)


def failure(server: RekognitionServer, answer: Answer, *, timeout: float = 20.0) -> CloudDetectionError:
    server.will(answer)
    before = len(server.requests)
    with pytest.raises(CloudDetectionError) as caught:
        client(server, timeout=timeout).detect(frame(), ("bee",))
    assert len(server.requests) == before + 1  # no retries
    return caught.value


def test_frame_is_sent_and_its_detections_returned(server: RekognitionServer) -> None:
    found = client(server, longest_side=80, min_confidence=0.35, labels={"bee": "Apis"}).detect(frame(), ("Apis",))
    assert found.counts() == {"Apis": 1}
    (request,) = server.requests
    assert cv2.imdecode(np.frombuffer(request.image, np.uint8), cv2.IMREAD_COLOR).shape == (45, 80, 3)
    assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 35.0}


def test_response_without_detections(server: RekognitionServer) -> None:
    server.will(Labels([]))
    assert len(client(server).detect(frame(), ("bee",))) == 0


REASONS: dict[str, tuple[FailureReason, bool]] = {
    "AccessDeniedException": ("credentials", True),
    "ImageTooLargeException": ("refused", False),
    "InternalServerError": ("timeout", True),
    "InvalidImageFormatException": ("refused", False),
    "InvalidParameterException": ("refused", True),
    "InvalidS3ObjectException": ("refused", True),
    "LimitExceededException": ("throttled", True),
    "ProvisionedThroughputExceededException": ("throttled", True),
    "ResourceNotFoundException": ("refused", True),
    "ResourceNotReadyException": ("model-not-running", True),
    "ThrottlingException": ("throttled", True),
}


def test_every_error_of_the_operation_is_listed() -> None:
    assert set(REASONS) == set(error_codes())


@pytest.mark.parametrize("code", REASONS)
def test_error_of_the_operation_has_its_reason(server: RekognitionServer, code: str) -> None:
    error = failure(server, Fault(code))
    assert (error.reason, error.is_service_failure) == REASONS[code]
    assert code in str(error)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Fault("ExpiredTokenException"), "credentials"),
        (Fault("UnrecognizedClientException"), "credentials"),
        (Fault("ServiceUnavailable"), "timeout"),
        (Reset(), "timeout"),
        (Reset(midway=True), "timeout"),
        (Rubbish(b"<html>a proxy's login page</html>"), "refused"),
        (Rubbish(b""), "refused"),
        (Rubbish(b"\xff\xfe\x00"), "refused"),
        (Rubbish(b"[1, 2]"), "refused"),
        (Rubbish(b'{"CustomLabels": 7}'), "refused"),
        (Rubbish(b'{"CustomLabels": [{"Name": "bee", "Confidence": "high"}]}'), "refused"),
        (Rubbish(b"Too many", status=429), "throttled"),
        (Rubbish(b"<html>Bad gateway</html>", status=502), "timeout"),
        (Rubbish(b"Not here", status=404), "refused"),
    ],
)  # fmt: skip
def test_other_failure_has_its_reason(server: RekognitionServer, answer: Answer, reason: FailureReason) -> None:
    assert failure(server, answer).reason == reason


def test_slow_response_is_a_timeout(server: RekognitionServer) -> None:
    assert failure(server, Hold(), timeout=0.2).reason == "timeout"


def test_unreachable_service_is_a_timeout(server: RekognitionServer) -> None:
    server.close()
    with pytest.raises(CloudDetectionError) as caught:
        client(server).detect(frame(), ("bee",))
    assert caught.value.reason == "timeout"


def test_retry_after_header_is_parsed(server: RekognitionServer) -> None:
    for header, seconds in (("17", 17), ("Wed, 21 Oct 2026 07:28:00 GMT", None)):
        error = failure(server, Fault("ThrottlingException", retry_after=header))
        assert error.retry_after_s == seconds


def test_large_frame_is_reduced_to_the_limit(server: RekognitionServer) -> None:
    large = np.random.default_rng(0).integers(0, 256, (2200, 3000, 3), np.uint8)
    client(server, longest_side=4096, jpeg_quality=100).detect(frame(large), ("bee",))
    assert 1_000_000 < len(server.requests[0].image) <= 5_242_880


@pytest.mark.parametrize(
    "arn", ["", "bees", "arn:aws:rekognition:eu-west-1:1:project/a/version/b/1", PROJECT_VERSION_ARN + "\n"]
)
def test_other_arn_is_refused(arn: str) -> None:
    with pytest.raises(InputError, match="give the ARN of a Custom Labels model version"):
        RekognitionClient(RekognitionSettings(project_version_arn=arn))
