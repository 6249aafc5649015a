"""A cloud model as a contender, over Rekognition's wire format."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import BeeagentError, InputError
from beeagent_models.comparison.cloud_contender import CloudSource
from beeagent_models.comparison.contenders import Findings, Spec
from beeagent_models.comparison.results_contender import ResultsSource
from beeagent_models.datasets.dataset import Dataset
from support.compared import CAREFUL, answer, bees
from support.rekognition_server import (
    ACCESS_KEY,
    PROJECT_VERSION_ARN,
    SECRET_KEY,
    Fault,
    Labels,
    RekognitionServer,
    Reset,
)

pytestmark = pytest.mark.aws

ANSWERS = tuple(Labels(answer(rows)["CustomLabels"]) for rows in CAREFUL)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RekognitionServer]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with RekognitionServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", server.url)
        yield server


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return bees(tmp_path)


class Asking:
    """A contender in the cloud; records the waits."""

    def __init__(self, dataset: Dataset, *, keep: Path | None = None, name: str = "cloud") -> None:
        self.waits: list[float] = []
        self.dataset = dataset
        spec = Spec(name, PROJECT_VERSION_ARN)
        self.source = CloudSource(spec, dataset, keep=keep, wait=self.waits.append)

    def find(self) -> Findings:
        return self.source.find(self.dataset, lambda: None)


def test_each_image_is_sent_once(server: RekognitionServer, dataset: Dataset) -> None:
    server.will(*ANSWERS)
    asking = Asking(dataset)
    assert asking.source.calls == 3
    findings = asking.find()
    assert [found.confidences.tolist() for found in findings.detections] == [
        pytest.approx([0.9, 0.8]),
        pytest.approx([0.9]),
        pytest.approx([0.3]),
    ]
    assert len(server.requests) == 3
    for request, image, sent in zip(server.requests, dataset.images, findings.sent, strict=True):
        assert request.parameters == {"ProjectVersionArn": PROJECT_VERSION_ARN, "MinConfidence": 0}
        shown = cv2.imdecode(np.frombuffer(request.image, np.uint8), cv2.IMREAD_COLOR)
        pixels = cv2.imread(str(image.path))
        assert shown is not None
        assert pixels is not None
        assert np.abs(shown.astype(int) - pixels).mean() < 8
        assert sent == len(request.image)
    assert findings.seconds is not None
    assert (findings.seconds > 0).all()
    assert findings.in_cloud


def test_throttling_is_waited_for(server: RekognitionServer, dataset: Dataset) -> None:
    throttled = Fault("ThrottlingException", retry_after="7")
    server.will(throttled, Fault("ProvisionedThroughputExceededException"), Reset(), *ANSWERS)
    asking = Asking(dataset)
    assert len(asking.find().detections[0]) == 2
    assert len(server.requests) == 6
    assert asking.waits[0] == 7
    assert 1 <= asking.waits[1] <= 2
    assert 2 <= asking.waits[2] <= 4


def test_number_of_attempts_is_limited(server: RekognitionServer, dataset: Dataset, tmp_path: Path) -> None:
    server.will(ANSWERS[0])
    server.answer = Fault("ThrottlingException")
    asking = Asking(dataset, keep=tmp_path / "kept")
    with pytest.raises(
        BeeagentError, match=r"cloud: failed 8 times for b\.png: .*ThrottlingException; the responses so"
    ):
        asking.find()
    assert len(asking.waits) == 7
    assert [path.name for path in (tmp_path / "kept" / "cloud").iterdir()] == ["a.png.json"]


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (
            "ResourceNotReadyException",
            "ResourceNotReadyException; start it with beeagent rekognition start --arn arn:aws",
        ),
        (
            "AccessDeniedException",
            "AccessDeniedException: rekognition:DetectCustomLabels is not permitted; give credentials with",
        ),
        ("ResourceNotFoundException", r"cloud: failed for a\.png: Rekognition returned ResourceNotFound"),
    ],
)
def test_unusable_model_is_a_one_line_error(
    server: RekognitionServer, dataset: Dataset, code: str, complaint: str
) -> None:
    server.answer = Fault(code)
    asking = Asking(dataset)
    with pytest.raises(InputError, match=complaint) as caught:
        asking.find()
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1
    assert asking.waits == []


def test_missing_credentials_prevent_all_calls(
    server: RekognitionServer, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="there are no AWS credentials; give some"):
        Asking(dataset).find()
    assert server.requests == []


def test_invalid_model_arn_is_refused(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="give the ARN of a Custom Labels model version"):
        CloudSource(Spec("cloud", "arn:aws:s3:::bees"), dataset, keep=None)


def test_kept_answers_are_compared_at_no_cost(server: RekognitionServer, dataset: Dataset, tmp_path: Path) -> None:
    server.will(*ANSWERS)
    live = Asking(dataset, keep=tmp_path / "kept").find()
    folder = tmp_path / "kept" / "cloud"
    kept = ResultsSource(Spec("kept", str(folder)), dataset, allow_missing=False).find(dataset, lambda: None)
    assert len(server.requests) == 3
    assert (kept.kind, kept.in_cloud) == ("answers", True)
    assert kept.sent.tolist() == live.sent.tolist()
    assert kept.seconds is not None
    assert live.seconds is not None
    assert kept.seconds == pytest.approx(live.seconds, abs=1e-4)
    for one, other in zip(kept.detections, live.detections, strict=True):
        assert one.boxes == pytest.approx(other.boxes, abs=1e-6)
        assert one.confidences == pytest.approx(other.confidences, abs=1e-6)


def test_only_missing_answers_are_requested(server: RekognitionServer, dataset: Dataset, tmp_path: Path) -> None:
    server.will(*ANSWERS)
    Asking(dataset, keep=tmp_path / "kept").find()
    folder = tmp_path / "kept" / "cloud"
    (folder / "b.png.json").unlink()
    # An answer of another model, or of unknown origin, is none of this one's.
    other = json.loads((folder / "c.png.json").read_text()) | {"ProjectVersionArn": f"{PROJECT_VERSION_ARN}0"}
    (folder / "c.png.json").write_text(json.dumps(other))
    again = Asking(dataset, keep=tmp_path / "kept")
    assert again.source.calls == 2
    server.will(*ANSWERS[1:])
    assert [len(found) for found in again.find().detections] == [2, 1, 1]
    assert len(server.requests) == 5


def test_unwritable_cache_prevents_all_calls(server: RekognitionServer, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be created"):
        Asking(dataset, keep=tmp_path / "file")
    with pytest.raises(InputError, match=r"'\.\./x' cannot be the name of a cache folder"):
        Asking(dataset, keep=tmp_path, name="../x")
    twins = Dataset("set", (*dataset.images, dataset.images[0]), ("bee",))
    with pytest.raises(InputError, match=r"two images have the name a\.png"):
        Asking(twins, keep=tmp_path / "kept")
    assert server.requests == []
