"""The clean-up removes the resources of beeagent and keeps foreign ones of each kind."""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from support.aws_commands import Run
from support.cloud_stack import ACCOUNT, BUCKET, Stack
from support.custom_labels_account import CustomLabelsAccount, Dataset, Project, Version
from support.moto_aws import REGION
from support.rekognition_server import PROJECT_VERSION_ARN, Fault
from support.sagemaker_jobs_server import SageMakerJobs

pytestmark = pytest.mark.aws

TAG = {"beeagent:project": "bees"}


@pytest.fixture
def clean_up(run: Run) -> Run:
    return partial(run, "cleanup", "--look-every", "0.01")


def add_project(account: CustomLabelsAccount, name: str, tags: dict[str, str], *, status: str = "STOPPED") -> Project:
    """Put a project with both datasets and a model into the account."""
    arn = f"arn:aws:rekognition:{REGION}:123456789012:project/{name}"
    project = account.projects[name] = Project(f"{arn}/1700000000000", dict(tags))
    for kind in ("TRAIN", "TEST"):
        project.datasets[kind] = Dataset(
            f"{arn}/dataset/{kind.lower()}/1700000000001", [], dict(tags), "CREATE_COMPLETE"
        )
    output = {"S3Bucket": "trainings", "S3KeyPrefix": "models"}
    project.versions[f"{name}.1"] = Version(
        f"{arn}/version/{name}.1/1700000000002", dict(tags), output, 10, 1_700_000_000.0, status, evaluated=True
    )
    return project


def add_bucket(name: str, *, policy: list[dict[str, Any]] | None = None, tags: dict[str, str] | None = None) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.put_object(Bucket=name, Key="image.jpg", Body=body)
    if policy is not None:
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": policy}))
    if tags is not None:
        s3.put_bucket_tagging(
            Bucket=name, Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
        )


def add_stack(name: str, tags: dict[str, str]) -> None:
    """Make a small stack with a bucket in it."""
    template = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{name}-bucket"}}}}
    boto3.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    boto3.client("s3").put_object(Bucket=f"{name}-bucket", Key="image.jpg", Body=b"one")


def snapshot(account: CustomLabelsAccount) -> dict[str, Any]:
    """Return all resources in the account."""
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    buckets: dict[str, Any] = {}
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        versions = s3.list_object_versions(Bucket=name)
        try:
            policy = s3.get_bucket_policy(Bucket=name)["Policy"]
        except ClientError:
            policy = None
        entries = versions.get("Versions", []) + versions.get("DeleteMarkers", [])
        buckets[name] = (sorted((each["Key"], each["VersionId"]) for each in entries), policy)
    stacks = {
        each["StackName"]: each["StackStatus"]
        for each in cloudformation.describe_stacks()["Stacks"]
        if each["StackStatus"] != "DELETE_COMPLETE"
    }
    queues = boto3.client("sqs").list_queues().get("QueueUrls", [])
    keys = {
        each["KeyId"]: boto3.client("kms").describe_key(KeyId=each["KeyId"])["KeyMetadata"]["KeyState"]
        for each in boto3.client("kms").list_keys()["Keys"]
    }
    functions = [each["FunctionName"] for each in boto3.client("lambda").list_functions()["Functions"]]
    return {
        "projects": {name: asdict(project) for name, project in account.projects.items()},
        "buckets": buckets,
        "stacks": stacks,
        "queues": sorted(queues),
        "keys": keys,
        "functions": sorted(functions),
    }


MINE = {
    "Sid": "Mine", "Effect": "Allow", "Principal": {"Service": "rekognition.amazonaws.com"}, "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::trainings/mine/*",
}  # fmt: skip
OURS = {**MINE, "Sid": "BeeagentRekognitionRead", "Resource": "arn:aws:s3:::trainings/bees/*"}


def test_all_of_beeagent_s_goes_and_nothing_else(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_bucket("trainings", policy=[MINE])
    add_bucket("bees-of-somebody-else", policy=[OURS], tags=TAG)
    add_stack("bees-2", {"project": "bees"})
    add_project(account, "wasps", {"beeagent": "bees"}, status="RUNNING")
    boto3.client("sqs").create_queue(QueueName="bees")
    boto3.client("kms").create_key(Description="bees")
    boto3.client("s3").create_bucket(
        Bucket="code-of-the-stack", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    boto3.client("s3").delete_bucket(Bucket="code-of-the-stack")
    before = snapshot(account)

    Stack(polled=False, S3BucketName=BUCKET, ProjectVersionArn=PROJECT_VERSION_ARN)
    s3 = boto3.client("s3")
    s3.put_bucket_policy(Bucket="trainings", Policy=json.dumps({"Version": "2012-10-17", "Statement": [MINE, OURS]}))
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key="image.jpg", Body=b"%d" % number)
    s3.delete_object(Bucket=BUCKET, Key="image.jpg")
    s3.create_multipart_upload(Bucket=BUCKET, Key="half.jpg")
    add_project(account, "bees", TAG, status="RUNNING")

    code, output, _ = clean_up("--yes")
    assert code == 0, output
    lines = output.splitlines()
    assert lines[0] == "account 123456789012, region eu-west-1"
    assert "kept: bucket trainings" in lines[1]
    assert [line[5:] for line in lines[2:10]] == [
        f"{'stop model bees.1':<70}  (costs about $4.00 an hour and inference unit)",
        "delete model bees.1",
        "delete TRAIN dataset of project bees",
        "delete TEST dataset of project bees",
        "delete project bees",
        "remove Rekognition's access from the policy of bucket trainings",
        f"empty bucket {BUCKET} of stack bees, with all versions",
        f"{'delete stack bees':<70}  (costs about $1 a month for its key, plus storage)",
    ]
    after = snapshot(account)
    del after["buckets"]["code-of-the-stack"]  # of the test's own, for moto
    keys = after["keys"]
    assert {key: state for key, state in keys.items() if key in before["keys"]} == before["keys"]
    assert after | {"keys": {}} == before | {"keys": {}}
    assert clean_up()[1].splitlines()[1:] == ["There is nothing to remove."]


def test_without_a_yes_and_in_a_dry_run_nothing_goes(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_bucket("trainings", policy=[OURS])
    add_stack("bees", TAG)
    add_project(account, "bees", TAG, status="RUNNING")
    before = snapshot(account)
    code, output, _ = clean_up("--dry-run")
    assert code == 0
    assert "delete stack bees" in output
    assert output.endswith("Nothing was removed: --dry-run.\n")
    assert snapshot(account) == before
    code, output, error = clean_up()
    assert code == 2
    assert (
        "Remove these 8 in account 123456789012? This cannot be undone. Standard input is no terminal: use --yes"
        in error
    )
    assert snapshot(account) == before


def test_only_the_project_and_only_the_stack_that_are_named(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_bucket("trainings")
    other = {"beeagent:project": "hornets"}
    for name, tags in (("bees", TAG), ("hornets", other)):
        add_stack(name, tags)
        add_project(account, name, tags)
    assert clean_up("--project", "hornets", "--yes")[0] == 0
    assert list(account.projects) == ["bees"]
    assert snapshot(account)["stacks"].keys() == {"bees"}
    assert clean_up("--stack", "bees", "--yes")[0] == 0
    assert list(account.projects) == ["bees"]
    assert snapshot(account)["stacks"] == {}


def test_a_stack_without_the_tag_is_refused_by_name(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_stack("theirs", {"project": "bees"})
    add_stack("bees", TAG)
    before = snapshot(account)
    code, _, output = clean_up("--stack", "theirs", "--yes")
    assert (code, output) == (2, "beeagent: the stack theirs has no tag beeagent:project: beeagent did not create it\n")
    code, _, output = clean_up("--stack", "bees", "--project", "wasps", "--yes")
    assert (code, "has no tag beeagent:project of the value wasps" in output) == (2, True)
    code, _, output = clean_up("--stack", "nowhere", "--yes")
    assert (code, "there is no stack nowhere in eu-west-1" in output) == (2, True)
    assert snapshot(account) == before


def test_resource_that_lost_its_tag_is_kept(account: CustomLabelsAccount, clean_up: Run) -> None:
    project = add_project(account, "bees", TAG)
    real = account._list_tags_for_resource

    def lose(members: Any) -> dict[str, Any]:  # noqa: ANN401 - of the request
        answer = real(members)
        if account.asked.count("ListTagsForResource") >= 4:  # project, model, two datasets: all is found
            next(iter(project.versions.values())).tags.clear()
        return answer

    account._list_tags_for_resource = lose  # type: ignore[method-assign]
    add_bucket("trainings")
    code, _, output = clean_up("--yes")
    assert code == 1
    assert "model bees.1 no longer has the tag beeagent:project, and is kept; 0 of 4 are done, 4 are left" in output
    assert list(project.versions) == ["bees.1"]
    assert "DeleteProjectVersion" not in account.asked


def test_foreign_model_keeps_itself_and_the_project(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_bucket("trainings")
    project = add_project(account, "bees", TAG)
    foreign = add_project(account, "theirs", {}).versions.pop("theirs.1")
    foreign.arn = foreign.arn.replace("theirs", "bees", 1)
    project.versions["theirs.1"] = foreign
    before = asdict(foreign)
    code, output, _ = clean_up("--yes")
    assert code == 0
    assert "kept: model theirs.1 of project bees, which beeagent did not create" in output
    assert "kept: project bees, because it is not empty" in output
    assert asdict(account.projects["bees"].versions["theirs.1"]) == before
    assert list(account.projects["bees"].versions) == ["theirs.1"]


def test_a_model_that_is_being_trained_is_waited_for_another_time(account: CustomLabelsAccount, clean_up: Run) -> None:
    account.stuck.add("TRAINING_IN_PROGRESS")
    add_project(account, "bees", TAG, status="TRAINING_IN_PROGRESS")
    code, output, _ = clean_up("--yes")
    assert code == 0
    assert "kept: model bees.1 of project bees, which is being trained, and cannot be stopped" in output
    assert list(account.projects["bees"].versions) == ["bees.1"]
    account.stuck.clear()
    add_bucket("trainings")
    clean_up("--yes")
    assert clean_up("--yes")[0] == 0
    assert account.projects == {}


def test_cleanup_resumes_after_a_failure(account: CustomLabelsAccount, clean_up: Run) -> None:
    add_bucket("trainings")
    add_project(account, "bees", TAG, status="STARTING")
    account.faults["DeleteDataset"] = [Fault("AccessDeniedException")]
    code, output, error = clean_up("--yes")
    assert code == 1
    assert "done: delete model bees.1" in output
    assert error == (
        "beeagent: delete TRAIN dataset of project bees: AWS does not permit rekognition:DeleteDataset in eu-west-1: "
        "the caller needs this permission; 2 of 5 are done, 3 are left: run it again\n"
    )
    assert clean_up("--yes")[0] == 0
    assert account.projects == {}


def test_more_versions_than_one_call_can_remove(
    account: CustomLabelsAccount,
    clean_up: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_stack("bees", TAG)
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket="bees-bucket", VersioningConfiguration={"Status": "Enabled"})
    from moto.s3.models import s3_backends  # noqa: PLC0415 - takes a second, in each worker of pytest-xdist

    store = s3_backends[ACCOUNT]["aws"]  # moto's server runs in this process; over HTTP, this would take seconds
    for number in range(1100):
        store.put_object("bees-bucket", f"{number % 50}.jpg", b"")
    sizes: list[int] = []
    call = BaseClient._make_api_call

    def counting(client: BaseClient, operation: str, members: dict[str, Any]) -> Any:  # noqa: ANN401 - botocore's
        if operation == "DeleteObjects":
            sizes.append(len(members["Delete"]["Objects"]))
        return call(client, operation, members)

    monkeypatch.setattr(BaseClient, "_make_api_call", counting)
    assert clean_up("--yes")[0] == 0
    assert snapshot(account)["buckets"] == {}
    assert sizes == [1000, 101]  # with the one that was there; moto would take more, and S3 does not


def test_a_running_training_job_is_stopped(
    account: CustomLabelsAccount, clean_up: Run, monkeypatch: pytest.MonkeyPatch  # noqa: ARG001 - whom it asks
) -> None:  # fmt: skip
    """moto knows no running jobs, and no StopTrainingJob; this server answers the four calls, by botocore's model."""
    with SageMakerJobs() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", server.url)
        code, output, _ = clean_up("--yes")
    assert code == 0
    assert "stop training job bees-1" in output
    assert "theirs" not in output
    assert server.stopped == ["bees-1"]
