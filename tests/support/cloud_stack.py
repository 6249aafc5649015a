"""Creates the stack of `deploy/cloud/template.yaml` in moto, over HTTP.

What moto's CloudFormation leaves out (the policies and alarms, and most of a bucket) is made from the same template by
the services' own calls: botocore refuses a member that the service does not know, moto a policy that is none.
"""

import functools
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import boto3
import yaml

from support.moto_aws import REGION

CLOUD: Final = Path(__file__).parents[2] / "deploy" / "cloud"
ACCOUNT: Final = "123456789012"
BUCKET: Final = "my-bees"
_CODE_BUCKET: Final = "code-of-the-stack"


def template(file: str = "template.yaml") -> dict[str, Any]:
    """Return a template, its tags such as `!Ref` in their long form."""
    read: dict[str, Any] = json.loads(_template_as_json(file))
    return read


@functools.cache
def _template_as_json(file: str) -> str:
    return json.dumps(yaml.load((CLOUD / file).read_text(encoding="utf-8"), Loader=_TemplateLoader))  # noqa: S506 - safe


class _TemplateLoader(yaml.SafeLoader):
    """Reads a template as cfn-lint does, without sympy, which cfn-lint imports for seconds; dates stay text."""

    yaml_implicit_resolvers: ClassVar = {
        start: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def function(self, name: str, node: yaml.Node) -> dict[str, Any]:
        """Return the long form of a tag such as `!Ref` or `!Sub`."""
        value: Any
        if isinstance(node, yaml.ScalarNode):
            value = self.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = self.construct_sequence(node, deep=True)
        else:
            value = self.construct_mapping(node, deep=True)
        if name == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


_TemplateLoader.add_multi_constructor("!", _TemplateLoader.function)


def resources(kind: str, *, file: str = "template.yaml") -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by name."""
    return {
        name: made["Properties"] for name, made in template(file)["Resources"].items() if made["Type"] == f"AWS::{kind}"
    }


def statements(policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the statements of a policy, those under a condition of the template too."""
    for statement in policy["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def package() -> bytes:
    """Zip the function's folder, as `aws cloudformation package` does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted((CLOUD / "lambda").rglob("*.py")):
            archive.write(file, file.relative_to(CLOUD / "lambda"))
    return buffer.getvalue()


class Stack:
    """A stack that was made, but for its event source where `polled` is False: moto would take the messages itself.

    Args:
        polled: whether there is an event source.
        parameters: parameters of the template.

    Attributes:
        outputs: outputs of the stack.
    """

    def __init__(self, *, polled: bool, **parameters: str) -> None:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=_CODE_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=_CODE_BUCKET, Key="package.zip", Body=package())
        self._template = template()
        self._template["Resources"]["Function"]["Properties"]["Code"] = {
            "S3Bucket": _CODE_BUCKET,
            "S3Key": "package.zip",
        }
        if not polled:
            del self._template["Resources"]["EventSource"]
        cloudformation = boto3.client("cloudformation")
        cloudformation.create_stack(
            StackName="bees",
            TemplateBody=json.dumps(self._template),
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "beeagent:project", "Value": "bees"}],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        (self.description,) = cloudformation.describe_stacks(StackName="bees")["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in self.description["Outputs"]}
        defaults = {name: made.get("Default") for name, made in self._template["Parameters"].items()}
        self._known = {
            **defaults,
            **parameters,
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "Bucket": self.outputs["BucketName"],
            "Bucket.Arn": f"arn:aws:s3:::{self.outputs['BucketName']}",
            "Key.Arn": self.outputs["KeyArn"],
            "Queue": self.outputs["QueueUrl"],
            "Queue.Arn": self.outputs["QueueArn"],
            "Queue.QueueName": self.outputs["QueueArn"].rpartition(":")[2],
            "DeadLetterQueue": self.outputs["DeadLetterQueueUrl"],
            "DeadLetterQueue.Arn": self.outputs["DeadLetterQueueArn"],
            "DeadLetterQueue.QueueName": self.outputs["DeadLetterQueueArn"].rpartition(":")[2],
            "Function": self.outputs["FunctionName"],
        }
        self._make_what_moto_leaves_out()

    def properties(self, name: str) -> dict[str, Any]:
        """Return the properties of a resource, with references resolved."""
        resolved: dict[str, Any] = self._resolved(self._template["Resources"][name]["Properties"])
        return resolved

    def _make_what_moto_leaves_out(self) -> None:
        s3, sqs, cloudwatch = boto3.client("s3"), boto3.client("sqs"), boto3.client("cloudwatch")
        for name, made in self._template["Resources"].items():
            properties = self.properties(name)
            if made["Type"] == "AWS::SQS::QueuePolicy":
                for url in properties["Queues"]:
                    policy = json.dumps(properties["PolicyDocument"])
                    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
            elif made["Type"] == "AWS::CloudWatch::Alarm":
                cloudwatch.put_metric_alarm(AlarmName=name, **properties)
            elif made["Type"] == "AWS::S3::BucketPolicy":
                s3.put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))
                # moto found it valid. It heeds no conditions, though: what it denies, it would deny to everybody.
                s3.delete_bucket_policy(Bucket=properties["Bucket"])
        bucket = self.properties("Bucket")
        name = bucket["BucketName"]
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=bucket["VersioningConfiguration"])
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=bucket["PublicAccessBlockConfiguration"])
        s3.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": [_rule(rule) for rule in _rules(bucket)]}
        )
        s3.put_bucket_notification_configuration(
            Bucket=name,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": notification["Queue"],
                        "Events": [notification["Event"]],
                        "Filter": {"Key": {"FilterRules": notification["Filter"]["S3Key"]["Rules"]}},
                    }
                    for notification in bucket["NotificationConfiguration"]["QueueConfigurations"]
                ]
            },
        )

    def _resolved(self, value: Any) -> Any:  # noqa: ANN401 - anything a template holds
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, given),) = value.items()
            if function in {"Ref", "Fn::GetAtt"}:
                name = given if isinstance(given, str) else ".".join(given)
                return self._known.get(name, name)
            if function == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._known.get(found[1], found[1])), given)
        return {key: self._resolved(item) for key, item in value.items() if not _is_left_out(item)}


def _is_left_out(value: Any) -> bool:  # noqa: ANN401 - anything a template holds
    """Say whether a property is there on a condition only: by default, none of them holds."""
    return isinstance(value, dict) and value.get("Fn::If", [None])[-1] == {"Ref": "AWS::NoValue"}


def _rules(bucket: Mapping[str, Any]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = bucket["LifecycleConfiguration"]["Rules"]
    return rules


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a lifecycle rule to the names of the API, which differ from CloudFormation's."""
    made: dict[str, Any] = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": ""}}
    if "TagFilters" in rule:
        (tag,) = rule["TagFilters"]
        made["Filter"] = {"Tag": tag}
    expiration = {"Days": int(rule["ExpirationInDays"])} if "ExpirationInDays" in rule else {}
    if "ExpiredObjectDeleteMarker" in rule:
        expiration = {"ExpiredObjectDeleteMarker": rule["ExpiredObjectDeleteMarker"]}
    if expiration:
        made["Expiration"] = expiration
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in rule:
            made[name] = rule[name]
    return made
