"""`beeagent rekognition create`, `import`, `train` and `metrics`, with moto for S3 and a mock of Rekognition."""

import json
import signal
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.aws_commands import Run
from support.beeagent_process import running_agent
from support.custom_labels_account import CustomLabelsAccount
from support.moto_aws import REGION
from support.rekognition_server import Fault

pytestmark = pytest.mark.aws

BUCKET = "my-bees"
MANIFEST = f"s3://{BUCKET}/bees/output.manifest"
OUTPUT = f"s3://{BUCKET}/models"


@pytest.fixture
def rekognition(run: Run) -> Run:
    return partial(run, "rekognition")


def line(name: str, *, bucket: str = BUCKET, left: int = 10) -> dict[str, Any]:
    return {
        "source-ref": f"s3://{bucket}/bees/images/{name}",
        "bees": {
            "image_size": [{"width": 320, "height": 240, "depth": 3}],
            "annotations": [{"class_id": 0, "left": left, "top": 10, "width": 40, "height": 30}],
        },
        "bees-metadata": {
            "objects": [{"confidence": 1}],
            "class-map": {"0": "bee"},
            "type": "groundtruth/object-detection",
            "human-annotated": "yes",
            "creation-date": "2026-05-04T10:00:00",
            "job-name": "bees",
        },
    }


def store(*lines: dict[str, Any], at: str = "bees/output.manifest", images: bool = True) -> None:
    s3 = boto3.client("s3")
    if BUCKET not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key=at, Body="".join(json.dumps(each) + "\n" for each in lines).encode())
    for each in lines if images else ():
        bucket, key = each["source-ref"].removeprefix("s3://").split("/", 1)
        s3.put_object(Bucket=bucket, Key=key, Body=b"an image")


def policy() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(boto3.client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"])
    return found


def test_all_steps_in_a_row_and_each_of_them_again(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(10)))
    code, output, _ = rekognition("create", "bees")
    assert (code, output.splitlines()[0]) == (0, f"created {account.projects['bees'].arn}")
    assert "about $1.00 an hour" in output
    assert rekognition("create", "bees")[1].startswith("already exists")

    code, output, _ = rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    assert code == 0
    assert f"{MANIFEST}: 10 images with 10 boxes of bee" in output
    assert "training: 8 images, 8 with labels" in output
    assert "test: 2 images, 2 with labels" in output
    code, output, _ = rekognition("import", "bees", MANIFEST)
    assert code == 0
    assert "a TRAIN dataset already exists and is kept without --replace: 8 images" in output
    assert account.asked.count("CreateDataset") == 2

    code, output, _ = rekognition(
        "train", "bees", "--version", "bees.1", "--output", OUTPUT, "--yes", "--look-every", "0.01"
    )
    assert code == 0
    assert "costs about $1.00 an hour" in output
    assert "bees.1 is TRAINING_IN_PROGRESS" in output
    assert "bees.1 is trained, 1.5 h billed, about $1.50" in output
    code, again, _ = rekognition("train", "bees", "--version", "bees.1", "--output", OUTPUT)
    assert code == 0
    assert "bees.1 is TRAINING_COMPLETED; no training is started" in again
    assert account.asked.count("CreateProjectVersion") == 1

    code, output, _ = rekognition("metrics", "bees")
    assert code == 0
    assert [each.split() for each in output.splitlines()[1:4]] == [
        ["label", "precision", "recall", "F1", "threshold", "images"],
        ["all", "labels", "0.990", "0.900", "0.943", "2"],
        ["bee", "0.990", "0.900", "0.943", "0.286", "2"],
    ]


def test_everything_it_makes_has_the_tag(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    rekognition("train", "bees", "--output", OUTPUT, "--yes", "--look-every", "0.01")
    project = account.projects["bees"]
    made = [project, *project.datasets.values(), *project.versions.values()]
    assert len(made) == 4
    assert all(each.tags == {"beeagent:project": "bees"} for each in made)


def test_test_manifest_is_imported_unchanged(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(6)))
    store(*(line(f"t{number}.jpg") for number in range(3)), at="bees/test.manifest")
    rekognition("create", "bees")
    test = f"s3://{BUCKET}/bees/test.manifest"
    code, output, _ = rekognition("import", "bees", MANIFEST, "--test", test, "--yes", "--look-every", "0.01")
    assert code == 0
    assert "training: 6 images" in output
    assert "test: 3 images" in output
    assert "DistributeDatasetEntries" not in account.asked


def test_replace_puts_others_in_the_place_of_those_there_are(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    store(*(line(f"{number}.jpg") for number in range(20)))
    code, output, _ = rekognition("import", "bees", MANIFEST, "--replace", "--yes", "--look-every", "0.01")
    assert code == 0
    assert "training: 16 images" in output
    assert {kind: len(each.lines) for kind, each in account.projects["bees"].datasets.items()} == {
        "TRAIN": 16,
        "TEST": 4,
    }


def test_interrupted_import_resumes_and_keeps_datasets(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(10)))
    rekognition("create", "bees")
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    project = account.projects["bees"]
    project.datasets["TRAIN"].lines += project.datasets.pop("TEST").lines
    before = project.datasets["TRAIN"].arn
    code, output, _ = rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    assert code == 0
    assert "a TRAIN dataset already exists and is kept without --replace: 10 images" in output
    assert "training: 8 images" in output
    assert project.datasets["TRAIN"].arn == before
    assert "DeleteDataset" not in account.asked


def test_bucket_policy_permits_rekognition_and_keeps_the_rest(
    account: CustomLabelsAccount,  # noqa: ARG001 - whom it asks
    rekognition: Run,
) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    mine = {
        "Sid": "Mine",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/private/*",
    }
    s3 = boto3.client("s3")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [mine]}))
    rekognition("create", "bees")
    code, _, output = rekognition("import", "bees", MANIFEST, "--look-every", "0.01")
    assert code == 2
    assert "Let Rekognition read my-bees/bees/output.manifest*" in output
    assert "use --yes" in output
    assert policy()["Statement"] == [mine]
    assert rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")[0] == 0
    statements = {each["Sid"]: each for each in policy()["Statement"]}
    assert statements["Mine"] == mine
    assert statements["BeeagentRekognitionRead"]["Resource"] == [
        f"arn:aws:s3:::{BUCKET}/bees/output.manifest*",
        f"arn:aws:s3:::{BUCKET}/bees/images/*",
    ]
    assert "BeeagentRekognitionWrite" not in statements
    before = policy()
    rekognition("import", "bees", MANIFEST, "--replace", "--yes", "--look-every", "0.01")
    assert policy() == before
    rekognition("train", "bees", "--output", OUTPUT, "--yes", "--look-every", "0.01")
    statements = {each["Sid"]: each for each in policy()["Statement"]}
    assert statements["BeeagentRekognitionWrite"]["Resource"] == [f"arn:aws:s3:::{BUCKET}/models/*"]


@pytest.mark.parametrize(
    ("lines", "images", "words"),
    [
        ([line("1.jpg"), line("1.jpg")], True, "duplicate"),
        ([line("1.jpg", left=300)], True, "box-outside"),
        ([line("1.jpg"), line("2.jpg")], False, "missing-image: s3://my-bees/bees/images/1.jpg is not there"),
        ([{**line("1.jpg"), "source-ref": "images/1.jpg"}], False, "beeagent dataset rewrite"),
    ],
)
def test_a_defective_manifest_is_not_imported(
    account: CustomLabelsAccount, rekognition: Run, lines: list[dict[str, Any]], images: bool, words: str  # noqa: FBT001 - a parameter
) -> None:  # fmt: skip
    store(*lines, images=images)
    rekognition("create", "bees")
    code, output, error = rekognition("import", "bees", MANIFEST, "--yes")
    assert code == 2
    assert words in output + error
    assert "CreateDataset" not in account.asked


def test_failed_import_reports_the_reason_and_can_be_repeated(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    account.faults["CreateDataset"] = [Fault("InvalidS3ObjectException", "Unable to get object metadata from S3.")]
    code, _, output = rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    assert code == 1
    assert "rekognition:CreateDataset in eu-west-1: InvalidS3ObjectException: Unable to get object metadata" in output
    account.projects["bees"].datasets.clear()
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    account.projects["bees"].datasets["TRAIN"].status = "CREATE_FAILED"
    code, _, output = rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    assert (code, "use --test as well, or --replace" in output) == (2, True)
    code, output, _ = rekognition("import", "bees", MANIFEST, "--replace", "--yes", "--look-every", "0.01")
    assert (code, "training: 4 images" in output) == (0, True)


def test_nothing_is_trained_without_a_yes(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    code, _, output = rekognition("train", "bees", "--output", OUTPUT, "--yes")
    assert (code, "lacks a dataset" in output) == (2, True)
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    code, stdout, stderr = rekognition("train", "bees", "--output", OUTPUT)
    assert code == 2
    assert "costs about $1.00 an hour" in stdout
    assert stderr.startswith("beeagent: Train bees.")
    assert "use --yes" in output
    assert "CreateProjectVersion" not in account.asked


def test_interrupted_training_is_followed_again_and_billed_once(
    account: CustomLabelsAccount, rekognition: Run, tmp_path: Path
) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    account.stuck.add("TRAINING_IN_PROGRESS")
    command = ("rekognition", "train", "bees", "--output", OUTPUT, "--yes", "--look-every", "600")
    with running_agent(*command, folder=tmp_path, PYTHONUNBUFFERED="1") as training:
        assert training.process.stdout is not None
        while "is TRAINING_IN_PROGRESS, for" not in (line := training.process.stdout.readline()):
            assert training.process.poll() is None, training.errors
        training.process.send_signal(signal.SIGINT)
        rest = training.process.stdout.read()
        assert training.end() == 0
    name = line.split()[0]
    assert f"The training of {name} continues and is billed" in rest
    account.stuck.clear()
    code, output, _ = rekognition("train", "bees", "--output", OUTPUT, "--look-every", "0.01")
    assert code == 0
    assert f"{name} is TRAINING_IN_PROGRESS; no training is started" in output
    assert f"{name} is trained" in output
    assert account.asked.count("CreateProjectVersion") == 1


def test_failed_training_reports_the_reason(account: CustomLabelsAccount, rekognition: Run) -> None:
    store(*(line(f"{number}.jpg") for number in range(5)))
    rekognition("create", "bees")
    rekognition("import", "bees", MANIFEST, "--yes", "--look-every", "0.01")
    account.trains_to = "TRAINING_FAILED"
    code, _, output = rekognition(
        "train", "bees", "--output", OUTPUT, "--version", "a", "--yes", "--look-every", "0.01"
    )
    assert code == 1
    assert output == "beeagent: the training of a failed: The manifest file contains too few labels.\n"
    code, _, output = rekognition("metrics", "bees")
    assert (code, "has no trained model" in output) == (2, True)
    code, _, output = rekognition("metrics", "bees", "--version", "b")
    assert (code, "has no model b" in output) == (2, True)


@pytest.mark.parametrize("operation", ["CreateProject", "DescribeProjects"])
def test_a_right_that_is_missing_is_named(account: CustomLabelsAccount, rekognition: Run, operation: str) -> None:
    account.faults[operation] = [Fault("AccessDeniedException")]
    code, _, output = rekognition("create", "bees") if operation == "CreateProject" else rekognition("metrics", "bees")
    assert code == 1
    assert f"AWS does not permit rekognition:{operation} in eu-west-1: the caller needs this permission" in output


class _Refusing(BaseHTTPRequestHandler):
    """S3 as it answers those who may not."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_right_that_is_missing_in_s3_is_named(rekognition: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rekognition("create", "bees")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as s3:
        threading.Thread(target=s3.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{s3.server_port}")
        code, _, output = rekognition("import", "bees", MANIFEST, "--yes")
        s3.shutdown()
    assert code == 1
    assert "AWS does not permit s3:GetBucketLocation in eu-west-1: the caller needs this permission" in output


def test_throttling_is_got_over(account: CustomLabelsAccount, rekognition: Run) -> None:
    account.faults["CreateProject"] = [Fault("ThrottlingException"), Fault("ThrottlingException")]
    assert rekognition("create", "bees")[0] == 0


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_DEFAULT_REGION", "", "no AWS region is set: use --region"),
        ("AWS_ACCESS_KEY_ID", "", "there are no AWS credentials: run `aws configure`"),
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found: check AWS_PROFILE"),
        ("AWS_ACCESS_KEY_ID", "AKIDOFANOTHER", "AWS rejects the credentials (UnrecognizedClientException)"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "AWS rejects the credentials (InvalidSignatureException)"),
        ("AWS_ENDPOINT_URL_REKOGNITION", "http://127.0.0.1:9", "rekognition in eu-west-1 cannot be reached"),
    ],
)
def test_unusable_environment_is_a_one_line_error(
    rekognition: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    if value:
        monkeypatch.setenv(variable, value)
    else:
        monkeypatch.delenv(variable)
    code, _, output = rekognition("create", "bees")
    assert code in (1, 2)
    assert words in output


def test_bucket_of_another_region_or_missing_is_reported(account: CustomLabelsAccount, rekognition: Run) -> None:
    rekognition("create", "bees")
    s3 = boto3.client("s3", region_name="eu-central-1")
    s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    code, _, output = rekognition("import", "bees", "s3://elsewhere/output.manifest", "--yes")
    assert code == 2
    assert "the bucket elsewhere is in eu-central-1, and the project in eu-west-1" in output
    assert "there is no bucket nowhere" in rekognition("import", "bees", "s3://nowhere/output.manifest", "--yes")[2]
    assert "is no address in S3" in rekognition("import", "bees", "output.manifest", "--yes")[2]
    assert "there is no project wasps" in rekognition("import", "wasps", MANIFEST, "--yes")[2]
    assert "CreateDataset" not in account.asked
