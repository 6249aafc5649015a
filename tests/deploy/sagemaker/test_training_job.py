import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from beeagent.detection import ModelBundle
from beeagent_models.datasets.synthesize import synthesize

pytestmark = pytest.mark.aws

DEPLOY = Path(__file__).parents[3] / "deploy" / "sagemaker"
TOOLKIT = Path(sys.executable).with_name("train")
DEADLINE = 600
DATE = datetime(2026, 5, 4, tzinfo=timezone.utc)


def job() -> dict[str, Any]:
    return dict(json.loads((DEPLOY / "job.json").read_text()))


def test_the_job_is_one_that_sagemaker_takes() -> None:
    loaders, validate = pytest.importorskip("botocore.loaders"), pytest.importorskip("botocore.validate")
    model = pytest.importorskip("botocore.model")
    service = model.ServiceModel(loaders.Loader().load_service_model("sagemaker", "service-2"))
    report = validate.ParamValidator().validate(job(), service.operation_model("CreateTrainingJob").input_shape)
    assert not report.has_errors(), report.generate_report()
    assert job()["StoppingCondition"]["MaxWaitTimeInSeconds"] >= job()["StoppingCondition"]["MaxRuntimeInSeconds"]


@pytest.mark.parametrize("name", ["role-policy.json", "role-trust.json"])
def test_role_of_the_job_has_minimum_permissions(name: str) -> None:
    for statement in json.loads((DEPLOY / name).read_text())["Statement"]:
        actions = statement["Action"]
        assert not any("*" in action for action in ([actions] if isinstance(actions, str) else actions))
        if "Resource" in statement and statement["Action"] != ["ecr:GetAuthorizationToken"]:
            assert "*" not in statement["Resource"]


class Job:
    """The folders of a SageMaker training container, in which the real toolkit runs."""

    def __init__(self, folder: Path, hyperparameters: dict[str, str], *, channels: tuple[str, ...]) -> None:
        self.folder, self.log = folder, folder / "log"
        config = folder / "input" / "config"
        config.mkdir(parents=True)
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        inputs = {name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"} for name in channels}
        (config / "inputdataconfig.json").write_text(json.dumps(inputs))
        # The toolkit waits until every host of the job can be resolved.
        hosts = {"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(hosts))
        (folder / "output").mkdir()
        (folder / "code").mkdir()
        shutil.copy(DEPLOY / "entry.py", folder / "code")  # as the Dockerfile does
        for seed, name in enumerate(channels):
            synthesize(folder / "input" / "data" / name, frames=6, width=128, height=96, seed=seed, created_at=DATE)

    def start(self) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "SAGEMAKER_BASE_DIR": str(self.folder),
            "SAGEMAKER_PROGRAM": "entry.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": str(self.folder / "code"),
            "BEEAGENT_CHECKPOINTS": str(self.folder / "checkpoints"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        }
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [TOOLKIT], stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    def run(self) -> int:
        with self.start() as process:
            return process.wait(DEADLINE)

    def failure(self) -> str:
        return (self.folder / "output" / "failure").read_text()


@pytest.fixture(autouse=True)
def _toolkit(request: pytest.FixtureRequest) -> None:
    if "tmp_path" in request.fixturenames:
        pytest.importorskip("sagemaker_training", reason="needs the extra sagemaker")


@pytest.mark.timeout(3 * DEADLINE)
def test_interrupted_job_resumes_and_writes_bundle_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs the extra train")
    options = {
        "steps": "3", "batch_size": "2", "input_size": "128", "scenes": "2", "backgrounds": "1",
        "validate_every": "1", "save_every": "1", "licence": "CC0-1.0",
    }  # fmt: skip
    one = Job(tmp_path / "ml", options, channels=("training", "validation"))
    state = tmp_path / "ml" / "checkpoints" / "run" / "state.npz"
    deadline = time.monotonic() + DEADLINE
    with one.start() as process:
        while not state.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert "step 1/3" in one.log.read_text()
    assert not (tmp_path / "ml" / "model" / "bundle").exists()

    assert one.run() == 0, one.log.read_text()
    log = one.log.read_text()
    assert "step 3/3" in log
    assert "step 1/3" not in log
    bundle = ModelBundle.load(tmp_path / "ml" / "model" / "bundle")
    assert bundle.labels == ("bee",)
    manifest = json.loads((tmp_path / "ml" / "model" / "bundle" / "manifest.json").read_text())
    assert manifest["licence"] == "CC0-1.0"
    assert json.loads((tmp_path / "ml" / "model" / "training.json").read_text())["steps_done"] == 3
    for metric in job()["AlgorithmSpecification"]["MetricDefinitions"]:
        found = [match for line in log.splitlines() for match in re.findall(metric["Regex"], line)]
        assert found, metric["Name"]
        assert all(float(value) >= 0 for value in found)


@pytest.mark.parametrize(
    ("hyperparameters", "channels", "message"),
    [
        ({}, ("validation",), "the job has no channel 'training'; it has validation"),
        ({"out": "x"}, ("training",), "hyperparameter 'out': is set by the job's channels"),
        ({}, ("training", "weights"), "channel 'weights' has 0 .npz files"),
    ],
)
def test_invalid_job_reports_the_reason(
    tmp_path: Path, hyperparameters: dict[str, str], channels: tuple[str, ...], message: str
) -> None:
    one = Job(tmp_path / "ml", hyperparameters, channels=channels)
    assert one.run() != 0
    assert message in one.log.read_text()
    assert "ExitCode 1" in one.failure()
