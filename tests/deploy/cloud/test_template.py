"""The template of the cloud stack, and the stack created from it."""

import json
from typing import Any

import boto3
import pytest
from bee_detection_inference.handler import MIN_TIME_MS
from support.cloud_stack import BUCKET, REGION, Stack, resources, statements, template
from support.rekognition_server import PROJECT_VERSION_ARN

pytestmark = pytest.mark.aws


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_role_of_the_function_has_minimum_permissions() -> None:
    (role,) = resources("IAM::Role").values()
    assert "ManagedPolicyArns" not in role
    for policy in role["Policies"]:
        for statement in statements(policy["PolicyDocument"]):
            assert not any("*" in action for action in listed(statement["Action"])), statement
            if statement["Sid"] != "Trace":  # X-Ray knows no resources
                assert statement["Resource"] != "*", statement


def test_the_role_can_write_nothing_that_would_start_the_function() -> None:
    (role,) = resources("IAM::Role").values()
    (writes,) = [
        statement
        for policy in role["Policies"]
        for statement in statements(policy["PolicyDocument"])
        if "s3:PutObject" in statement["Action"]
    ]
    assert writes["Resource"]["Fn::Sub"].endswith("/test_images/*.json")
    (notification,) = resources("S3::Bucket")["Bucket"]["NotificationConfiguration"]["QueueConfigurations"]
    rules = {rule["Name"]: rule["Value"] for rule in notification["Filter"]["S3Key"]["Rules"]}
    assert rules == {"prefix": "test_images/", "suffix": ".jpg"}


def test_service_access_is_limited_to_account_and_bucket() -> None:
    (key,) = resources("KMS::Key").values()
    queue = resources("SQS::QueuePolicy")["QueuePolicy"]
    let_in = [
        statement
        for policy in (key["KeyPolicy"], queue["PolicyDocument"])
        for statement in statements(policy)
        if statement["Principal"] == {"Service": "s3.amazonaws.com"}
    ]
    assert len(let_in) == 2
    for statement in let_in:
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        assert "${S3BucketName}" in statement["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"]


def test_nothing_is_allowed_to_everybody_and_nothing_goes_without_tls() -> None:
    documents: list[dict[str, Any]] = [
        made["PolicyDocument"] for kind in ("SQS::QueuePolicy", "S3::BucketPolicy") for made in resources(kind).values()
    ]
    assert len(documents) == 3  # of the bucket and both queues
    for document in documents:
        for statement in statements(document):
            assert statement["Effect"] == "Deny" or statement["Principal"] != "*"
        assert any(
            statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for statement in statements(document)
        )


def test_all_that_is_kept_is_encrypted_with_the_key() -> None:
    key = {"Fn::GetAtt": ["Key", "Arn"]}
    assert all(queue["KmsMasterKeyId"] == key for queue in resources("SQS::Queue").values())
    assert all(group["KmsKeyId"] == key for group in resources("Logs::LogGroup").values())
    assert resources("Lambda::Function")["Function"]["KmsKeyArn"] == key
    (rule,) = resources("S3::Bucket")["Bucket"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}


def test_the_times_fit() -> None:
    function, queue = resources("Lambda::Function")["Function"], resources("SQS::Queue")["Queue"]
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    assert function["Timeout"] * 1000 > MIN_TIME_MS
    assert resources("SQS::Queue")["DeadLetterQueue"]["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_the_article_s_parameters_are_there() -> None:
    parameters = template()["Parameters"]
    assert {"S3BucketName", "SQSName", "KMSAliasName", "ProjectVersionArn", "MinConfidence"} <= set(parameters)
    assert all(parameter["Description"] for parameter in parameters.values())


@pytest.mark.usefixtures("aws")
def test_stack_is_created_from_the_template() -> None:
    stack = Stack(polled=True, S3BucketName=BUCKET, ProjectVersionArn=PROJECT_VERSION_ARN)
    assert stack.description["StackStatus"] == "CREATE_COMPLETE"
    assert stack.description["Tags"] == [{"Key": "beeagent:project", "Value": "bees"}]
    (source,) = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert source["EventSourceArn"] == stack.outputs["QueueArn"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    function = boto3.client("lambda").get_function_configuration(FunctionName="bee-detection-inference")
    assert function["Environment"]["Variables"]["QUEUE_URL"] == stack.outputs["QueueUrl"]
    kms = boto3.client("kms")
    named = {alias["AliasName"]: alias.get("TargetKeyId") for alias in kms.list_aliases()["Aliases"]}
    assert stack.outputs["KeyArn"].endswith(f":key/{named['alias/bee-detection']}")
    assert kms.get_key_rotation_status(KeyId=stack.outputs["KeyArn"])["KeyRotationEnabled"]


def test_queue_has_a_dead_letter_queue(stack: Stack) -> None:
    sqs = boto3.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=stack.outputs["QueueUrl"], AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"] == stack.outputs["DeadLetterQueueArn"]
    assert attributes["KmsMasterKeyId"] == stack.outputs["KeyArn"]


def test_the_bucket_is_closed_versioned_encrypted_and_cleans_up(stack: Stack) -> None:
    s3 = boto3.client("s3")
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]}
    assert rules["results"]["Expiration"] == {"Days": 365}
    assert rules["results"]["Filter"] == {"Tag": {"Key": "beeagent-kind", "Value": "result"}}
    assert all("Days" not in rule.get("Expiration", {}) for name, rule in rules.items() if name != "results")
    s3.put_object(Bucket=BUCKET, Key="test_images/a.jpg", Body=b"image")
    head = s3.head_object(Bucket=BUCKET, Key="test_images/a.jpg")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", stack.outputs["KeyArn"])


@pytest.mark.parametrize(
    ("name", "metric", "dimension"),
    [
        ("DeadLettersAlarm", "ApproximateNumberOfMessagesVisible", "bee-detection-dead-letter"),
        ("OldMessagesAlarm", "ApproximateAgeOfOldestMessage", "bee-detection"),
        ("FunctionErrorsAlarm", "Errors", "bee-detection-inference"),
    ],
)
def test_alarms_cover_all_queues_and_the_function(
    stack: Stack,  # noqa: ARG001 - which has the alarms
    name: str,
    metric: str,
    dimension: str,
) -> None:
    (alarm,) = boto3.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["MetricName"] == metric
    assert [watched["Value"] for watched in alarm["Dimensions"]] == [dimension]
