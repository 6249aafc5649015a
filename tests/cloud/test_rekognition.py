import subprocess
import sys
import time
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.cloud.reason import NoOpinionError, Reason
from beeagent.cloud.rekognition import RekognitionClient, RekognitionOptions
from beeagent.errors import InputError
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

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)


def frame(pixels: np.ndarray = PIXELS) -> Frame:
    return Frame(pixels, datetime.now(timezone.utc), time.monotonic_ns(), 0)


def client(server: RekognitionServer, *, timeout: float = 20.0, **options: object) -> RekognitionClient:
    return RekognitionClient(
        RekognitionOptions(project_version_arn=PROJECT_VERSION_ARN, endpoint_url=server.url, timeout=timeout, **options)
    )


def failure(server: RekognitionServer, answer: Answer, *, timeout: float = 20.0) -> NoOpinionError:
    server.will(answer)
    asked = len(server.requests)
    with pytest.raises(NoOpinionError) as caught:
        client(server, timeout=timeout).look(frame(), ("bee",))
    assert len(server.requests) == asked + 1  # no retries
    return caught.value


def test_shows_the_frame_and_gives_what_was_found(server: RekognitionServer) -> None:
    found = client(server, longest_side=80, min_confidence=0.35, names={"bee": "Apis"}).look(frame(), ("Apis",))
    assert found.counts() == {"Apis": 1}
    (request,) = server.requests
    assert cv2.imdecode(np.frombuffer(request.image, np.uint8), cv2.IMREAD_COLOR).shape == (45, 80, 3)
    assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 35.0}


def test_nothing_found_is_an_answer(server: RekognitionServer) -> None:
    server.will(Labels([]))
    assert len(client(server).look(frame(), ("bee",))) == 0


REASONS: dict[str, tuple[Reason, bool]] = {
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


def test_every_error_of_the_operation_is_known() -> None:
    assert set(REASONS) == set(error_codes())


@pytest.mark.parametrize("code", REASONS)
def test_an_error_of_the_operation_gives_its_reason(server: RekognitionServer, code: str) -> None:
    error = failure(server, Fault(code))
    assert (error.reason, error.strikes) == REASONS[code]
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
def test_every_other_failure_gives_its_reason(server: RekognitionServer, answer: Answer, reason: Reason) -> None:
    assert failure(server, answer).reason == reason


def test_a_slow_answer_is_a_timeout(server: RekognitionServer) -> None:
    assert failure(server, Hold(), timeout=0.2).reason == "timeout"


def test_nobody_there_is_a_timeout(server: RekognitionServer) -> None:
    server.close()
    with pytest.raises(NoOpinionError) as caught:
        client(server).look(frame(), ("bee",))
    assert caught.value.reason == "timeout"


def test_tells_how_long_the_service_asks_to_wait(server: RekognitionServer) -> None:
    assert failure(server, Fault("ThrottlingException", retry_after="17")).wait_s == 17
    assert failure(server, Fault("ThrottlingException", retry_after="Wed, 21 Oct 2026 07:28:00 GMT")).wait_s is None


def test_a_large_frame_is_brought_within_the_limit(server: RekognitionServer) -> None:
    large = np.random.default_rng(0).integers(0, 256, (2200, 3000, 3), np.uint8)
    client(server, longest_side=4096, quality=100).look(frame(large), ("bee",))
    assert 1_000_000 < len(server.requests[0].image) <= 5_242_880


@pytest.mark.parametrize(
    "arn", ["", "bees", "arn:aws:rekognition:eu-west-1:1:project/a/version/b/1", PROJECT_VERSION_ARN + "\n"]
)
def test_an_arn_of_something_else_is_refused(arn: str) -> None:
    with pytest.raises(InputError, match="give the ARN of a Custom Labels model"):
        RekognitionOptions(project_version_arn=arn)


def test_only_what_talks_to_aws_imports_boto3() -> None:
    script = (
        "import sys, pkgutil, importlib, beeagent.cli.app, beeagent.cloud as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    if module.name not in ('rekognition', 'failure', 'cloud_model'):\n"
        "        importlib.import_module('beeagent.cloud.' + module.name)\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
