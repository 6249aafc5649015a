"""`beeagent rollout` deploys to canaries, watches their statuses at a real broker, and continues or stops.

The account is a stand-in: boto3's requests to it and its answers are checked by AWS's own models.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from beeagent.cli.app import main
from beeagent.messages import status_message
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from paho.mqtt import publish
from support.botocore_models import service_model, share_models
from support.mosquitto import Mosquitto

AWS_FILES = Path(__file__).parents[3] / "deploy" / "greengrass" / "aws"
OLD, NEW = "0.1.0", "0.2.0"
CANARIES = ["hive-1", "hive-2"]
OTHERS = [f"hive-{number}" for number in range(3, 13)]

pytestmark = [pytest.mark.aws, pytest.mark.timeout(180)]  # processes and connections on a busy machine


@dataclass
class Account:
    """Two thing groups, their deployments, and devices whose nuclei carry those out at once."""

    broker: Mosquitto
    groups: dict[str, list[str]]
    job_of: Callable[[str], str] = lambda _: "SUCCEEDED"
    agent_of: Callable[[str], str] = lambda _: NEW
    reason_of: Callable[[str], str] = lambda _: ""
    deployments: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def publish(self, names: list[str], *, agent: Callable[[str], str], reason: Callable[[str], str]) -> None:
        messages = []
        for name in names:
            why = [reason(name)] if reason(name) else []
            status = status_message(
                device=name,
                state="degraded" if why else "online",
                reasons=why,
                at=datetime.now(timezone.utc),
                agent_version=agent(name),
            )
            messages.append((f"beeagent/{name}/status", status.encode(limit=7000), 1, True))
        publish.multiple(messages, port=self.broker.port)

    def answer(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        model = service_model(service).operation_model(operation)
        answer = getattr(self, operation)(request)
        for value, shape in ((request, model.input_shape), (answer, model.output_shape)):
            report = ParamValidator().validate(value, shape)
            assert not report.has_errors(), f"{operation}: {report.generate_report()}"
        return answer

    def ListThingsInThingGroup(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        return {"things": self.groups[request["thingGroupName"]]}

    def ListDeployments(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        found = [one for one in self.deployments if one["targetArn"] == request["targetArn"]]
        return {"deployments": [{"deploymentId": one["deploymentId"]} for one in found[-1:]]}

    def GetDeployment(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        (found,) = [one for one in self.deployments if one["deploymentId"] == request["deploymentId"]]
        return {**found, "deploymentStatus": "ACTIVE", "revisionId": "1"}

    def CreateDeployment(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        number = len(self.deployments)
        self.deployments.append({**request, "deploymentId": f"deployment-{number}"})
        if request["components"]["io.beeagent.Agent"]["componentVersion"] == NEW:
            names = self.groups[request["targetArn"].rpartition("/")[2]]
            self.publish(names, agent=self.agent_of, reason=self.reason_of)
        return {"deploymentId": f"deployment-{number}", "iotJobId": f"job-{number}"}

    def CancelDeployment(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        self.cancelled.append(request["deploymentId"])
        return {"message": "cancelled"}

    def ListJobExecutionsForJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        target = self.deployments[int(request["jobId"].removeprefix("job-"))]["targetArn"]
        return {
            "executionSummaries": [
                {
                    "thingArn": f"arn:aws:iot:eu-central-1:123456789012:thing/{name}",
                    "jobExecutionSummary": {"status": self.job_of(name)},
                }
                for name in self.groups[target.rpartition("/")[2]]
            ]
        }


@pytest.fixture
def account(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account, in which both groups have the old version."""
    share_models(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    made = Account(mosquitto, {"hives-canary": CANARIES, "hives": CANARIES + OTHERS})

    def call(client: Any, operation: str, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - of botocore
        return made.answer(client.meta.service_model.service_name, operation, request)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", call)
    for group in ("canary", "fleet"):
        made.CreateDeployment(deployment(group, OLD))
    made.publish(made.groups["hives"], agent=lambda _: OLD, reason=lambda _: "")
    return made


def deployment(stage: str, version: str) -> dict[str, Any]:
    text = (AWS_FILES / ("deployment-canary.json" if stage == "canary" else "deployment.json")).read_text()
    request = json.loads(text.replace("REGION", "eu-central-1").replace("ACCOUNT", "123456789012"))
    request["components"]["io.beeagent.Agent"]["componentVersion"] = version
    return request  # type: ignore[no-any-return]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, soak: str = "0.005") -> tuple[int, str, str]:
        for stage in ("canary", "fleet"):
            (tmp_path / f"{stage}.json").write_text(json.dumps(deployment(stage, NEW)))
        files = ("--canary", str(tmp_path / "canary.json"), "--fleet", str(tmp_path / "fleet.json"))
        limits = ("--soak", soak, "--grace", "0.02", "--timeout", "0.5", "--look-every", "0.1")
        broker = ("--broker", str(account.broker.address))
        monkeypatch.setattr("sys.argv", ["beeagent", "rollout", *files, *broker, *limits, "--yes", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def targets(account: Account) -> list[tuple[str, str]]:
    """Return group and version of the deployments that the rollout made."""
    return [
        (one["targetArn"].rpartition("/")[2], one["components"]["io.beeagent.Agent"]["componentVersion"])
        for one in account.deployments[2:]
    ]


def test_healthy_canaries_lead_to_the_fleet(account: Account, run: Run) -> None:
    code, output, error = run()
    assert (code, error) == (0, "")
    assert targets(account) == [("hives-canary", NEW), ("hives", NEW)]
    assert account.cancelled == []
    assert "canary: 2 of 2 healthy with 0.2.0, 0 failed" in output
    assert "fleet: 12 of 12 devices are online and watched" in output
    assert output.endswith("version 0.2.0 is deployed\n")


def test_refused_setting_of_a_job_that_succeeded_stops_at_the_canaries(account: Account, run: Run) -> None:
    account.reason_of = lambda name: "settings: tiles is '9'\x1b[2J" if name == "hive-2" else ""
    code, _, error = run()
    assert code == 1
    assert "canary stopped: hive-2: degraded: settings: tiles is '9'" in error
    assert "\x1b" not in error
    assert account.cancelled == ["deployment-2"]
    assert targets(account) == [("hives-canary", NEW), ("hives-canary", OLD)]


def test_failed_job_stops(account: Account, run: Run) -> None:
    account.job_of = lambda name: "FAILED" if name == "hive-1" else "SUCCEEDED"
    code, _, error = run("--no-roll-back")
    assert code == 1
    assert "canary stopped: hive-1: its deployment is FAILED; devices that have it keep it" in error
    assert targets(account) == [("hives-canary", NEW)]
    assert account.cancelled == ["deployment-2"]


def test_old_version_after_a_job_that_succeeded_stops(account: Account, run: Run) -> None:
    account.agent_of = lambda name: OLD if name == "hive-1" else NEW
    code, _, error = run()
    assert code == 1
    assert "hive-1: its deployment succeeded, and it runs version 0.1.0" in error


def test_unfinished_job_stops_in_time(account: Account, run: Run) -> None:
    account.job_of = lambda _: "IN_PROGRESS"
    code, _, error = run("--timeout", "0.02")
    assert code == 1
    assert "not healthy with 0.2.0 in time: hive-1, hive-2" in error


def test_fleet_stops_beyond_its_limit(account: Account, run: Run) -> None:
    account.reason_of = lambda name: "model: broken" if name in OTHERS[:3] else ""
    code, output, error = run("--max-failed", "20")
    assert code == 1
    assert "fleet stopped: hive-3: degraded: model: broken; hive-4: " in error
    assert account.cancelled == ["deployment-3"]
    assert targets(account) == [("hives-canary", NEW), ("hives", NEW), ("hives", OLD)]
    assert "fleet: deployment deployment-3 is cancelled" in output


def test_fleet_continues_within_its_limit(account: Account, run: Run) -> None:
    account.reason_of = lambda name: "model: broken" if name in OTHERS[:2] else ""
    code, output, _ = run("--max-failed", "20")
    assert code == 0
    assert "fleet: 10 of 12 healthy with 0.2.0, 2 failed" in output
    assert account.cancelled == []


def test_devices_that_were_unhealthy_before_are_not_watched(account: Account, run: Run) -> None:
    account.publish(["hive-12"], agent=lambda _: OLD, reason=lambda _: "camera: gone")
    account.reason_of = lambda name: "camera: gone" if name == "hive-12" else ""
    code, output, _ = run("--max-failed", "0")
    assert code == 0
    assert "fleet: 11 of 12 devices are online and watched" in output


def test_unhealthy_canary_before_the_rollout_is_refused(account: Account, run: Run) -> None:
    account.publish(["hive-1"], agent=lambda _: OLD, reason=lambda _: "camera: gone")
    code, _, error = run()
    assert code == 1
    assert "canaries are not online before the rollout: hive-1; nothing was deployed" in error
    assert targets(account) == []


def test_unreachable_broker_deploys_nothing(account: Account, run: Run) -> None:
    account.broker.stop()
    code, _, error = run()
    assert code == 1
    assert "nothing was deployed" in error
    assert targets(account) == []


def test_refusal_of_aws_deploys_nothing(account: Account, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "CreateDeployment")

    monkeypatch.setattr(account, "CreateDeployment", refuse)
    code, _, error = run()
    assert code == 1
    assert "AWS does not permit greengrass:CreateDeployment in eu-central-1" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targetArn": "arn:aws:iot:eu-central-1:123456789012:thing/hive-1"}, "no thing group"),
        ({"targetArn": "arn:aws:iot:REGION:ACCOUNT:thinggroup/hives"}, "fill in the templates"),
        ({"components": {}}, "no componentVersion"),
    ],
)
def test_invalid_deployment_is_refused(
    account: Account, run: Run, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(deployment("canary", NEW) | changes))
    code, _, error = run("--canary", str(other))
    assert code == 2
    assert message in error
    assert targets(account) == []
