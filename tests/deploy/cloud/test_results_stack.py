"""The results stack of a fleet: its template, and messages of the agent up to the saved queries."""

import json
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.messages import (
    CameraStatus,
    DetectionsMessage,
    StatusMessage,
    TrafficMessage,
    detections_message,
    status_message,
    traffic_message,
)
from beeagent.outbox import OutboxCounts
from botocore.validate import ParamValidator
from support.botocore_models import service_model
from support.cloud_stack import resources, statements
from support.moto_aws import aws, moto
from support.results_pipeline import RESULTS, TABLES, ResultsPipeline, RuleSql, resolved

__all__ = ["aws", "moto"]

pytestmark = [pytest.mark.aws, pytest.mark.timeout(180)]  # moto's start on a busy machine

NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOUR = NOW.replace(minute=0, second=0) - timedelta(hours=2)


def detections(
    device: str = "hive-7",
    *,
    bees: int = 2,
    at: datetime = HOUR,
    seq: int = 1,
    event_id: UUID | None = None,
    **more: Any,  # noqa: ANN401 - fields of a result
) -> DetectionsMessage:
    found = Detections(
        boxes=np.tile(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), (bees, 1)),
        confidences=np.full(bees, 0.9, np.float32),
        class_ids=np.zeros(bees, np.int64),
        labels=("bee",),
    )
    fields: dict[str, Any] = {"decided_by": "edge", "inference_ms": 18.4, "total_ms": 39.0, "model": "bees@3f9c21d0"}
    return detections_message(
        event_id=event_id or uuid4(), device=device, camera="front", seq=seq, captured_at=at, frame_width=1280,
        frame_height=720, detections=found, **(fields | more),
    )  # fmt: skip


def status(device: str, *, state: Any = "online", reasons: tuple[str, ...] = ()) -> StatusMessage:  # noqa: ANN401 - a literal
    return status_message(
        device=device,
        state=state,
        reasons=reasons,
        at=NOW,
        agent_version="0.2.0",
        model="bees@3f9c21d0",
        cameras=[CameraStatus(name="front", frames_read=9, frames_skipped=0, frames_per_s=12.34, frame_age_s=0.1)],
        outbox=OutboxCounts(produced=9, delivered=7, dropped={"full": 1}),
        last_delivery=NOW,
    )


def traffic(device: str, *, flew_in: int, out: int, seq: int) -> TrafficMessage:
    counts = {"in": flew_in, "out": out}
    line = {**counts, "today": counts, "total": counts}
    return traffic_message(
        event_id=uuid4(), device=device, camera="front", seq=seq, begin=HOUR, end=HOUR + timedelta(minutes=1),
        day=date(2026, 5, 4), frames_per_s=12.5, lines={"entrance": {"bee": line}},
        zones={"hive": {"bee": {**line, "inside": 3}}},
    )  # fmt: skip


@pytest.fixture
def pipeline(aws: str, tmp_path: Path) -> ResultsPipeline:  # noqa: ARG001 - a fixture
    return ResultsPipeline(tmp_path)


def publish(
    pipeline: ResultsPipeline,
    message: DetectionsMessage | TrafficMessage | StatusMessage,
    *,
    now_ms: float | None = None,
) -> None:
    kind = message.schema_.removeprefix("beeagent.").removesuffix("/1")
    place = message.device if isinstance(message, StatusMessage) else f"{message.device}/{message.camera}"
    now_ms = time.time() * 1000 if now_ms is None else now_ms
    assert pipeline.publish(f"beeagent/{place}/{kind}", message.to_json(), now_ms=int(now_ms)) == [kind]


def saved_query(name: str) -> str:
    (found,) = [one for one in resources("Athena::NamedQuery", file=RESULTS).values() if one["Name"] == name]
    return str(found["QueryString"])


def test_every_field_of_a_result_is_in_the_parquet_file(pipeline: ResultsPipeline) -> None:
    message = detections(
        decided_by="edge-degraded", fallback="timeout", source="day.mp4", position_s=12.5, tracks=[3, 0], at=NOW
    )
    publish(pipeline, message, now_ms=1_777_890_067_123)
    pipeline.convert(day="2026-05-04")
    (row,) = pipeline.query("SELECT * FROM detections")
    sent = json.loads(message.to_json())
    assert row.pop("day") == "2026-05-04"
    assert row.pop("received_ms") == 1_777_890_067_123
    assert row.pop("omitted") is None
    assert sent.pop("schema") == "beeagent.detections/1"
    assert sent["detections"][0].pop("track") == 3
    assert row["detections"][0].pop("track") == 3
    assert row["detections"][1].pop("track") is None
    assert row == sent


def test_every_field_of_a_message_is_a_column_or_left_out_on_purpose() -> None:
    left_out = {
        "detections": {"schema"},
        "traffic": {"schema", "from", "to", "day"},
        "status": {"schema", "second_opinion", "threads", "workers"},
    }
    for (name, title), message in zip(TABLES.items(), (DetectionsMessage, TrafficMessage, StatusMessage), strict=True):
        fields = {one.alias or field for field, one in message.model_fields.items()}
        table = resources("Glue::Table", file=RESULTS)[f"{title}Table"]["TableInput"]
        columns = {one["Name"] for one in table["StorageDescriptor"]["Columns"]}
        assert fields - columns == left_out[name]


def test_bees_per_hive_and_hour(pipeline: ResultsPipeline) -> None:
    for seq, bees in enumerate((2, 4, 0), start=1):
        publish(pipeline, detections(bees=bees, seq=seq))
    again = detections(bees=9, seq=4, at=HOUR + timedelta(hours=1), event_id=uuid4())
    publish(pipeline, again)
    publish(pipeline, again)
    publish(pipeline, detections("hive-8", bees=1))
    pipeline.convert(day=NOW.date().isoformat())
    rows = pipeline.query(saved_query("bees-per-hive-and-hour"))
    assert [tuple(row.values()) for row in rows] == [
        ("hive-7", HOUR, 3, 2.0, 4),
        ("hive-7", HOUR + timedelta(hours=1), 1, 9.0, 9),
        ("hive-8", HOUR, 1, 1.0, 1),
    ]


def test_flights_per_hive_and_hour(pipeline: ResultsPipeline) -> None:
    for seq in (1, 2):
        publish(pipeline, traffic("hive-7", flew_in=seq, out=5, seq=seq))
    pipeline.convert(day=NOW.date().isoformat())
    rows = pipeline.query(saved_query("flights-per-hive-and-hour"))
    assert [tuple(row.values()) for row in rows] == [("hive-7", HOUR, 3, 10)]
    (row, _) = pipeline.query("SELECT interval_begin, local_day, zones FROM traffic ORDER BY seq")
    assert row["local_day"] == "2026-05-04"
    assert row["interval_begin"].startswith(HOUR.strftime("%Y-%m-%dT%H"))
    assert row["zones"]["hive"]["bee"]["inside"] == 3


def test_quiet_devices(pipeline: ResultsPipeline) -> None:
    now_ms = time.time() * 1000
    publish(pipeline, status("fine"), now_ms=now_ms - 30_000)
    publish(pipeline, status("silent"), now_ms=now_ms - 3_600_000)
    publish(pipeline, status("gone"), now_ms=now_ms - 60_000)
    publish(pipeline, status("gone", state="offline", reasons=("connection lost",)), now_ms=now_ms - 30_000)
    publish(pipeline, status("back", state="offline", reasons=("stopped",)), now_ms=now_ms - 60_000)
    publish(pipeline, status("back"), now_ms=now_ms - 30_000)
    pipeline.convert(day=NOW.date().isoformat())
    rows = pipeline.query(saved_query("quiet-devices"))
    assert [(row["device"], row["state"], row["agent"]) for row in rows] == [
        ("silent", "online", "0.2.0"),
        ("gone", "offline", "0.2.0"),
    ]
    (row,) = pipeline.query("SELECT cameras, outbox FROM status WHERE device = 'fine'")
    assert row["cameras"][0]["frames_per_s"] == 12.34
    assert row["outbox"]["dropped"] == {"full": 1}


def test_share_of_second_opinions(pipeline: ResultsPipeline) -> None:
    publish(pipeline, detections(decided_by="cloud"))
    publish(pipeline, detections(decided_by="edge-degraded", fallback="budget", seq=2))
    for seq in (3, 4, 5, 6):
        publish(pipeline, detections(seq=seq))
    pipeline.convert(day=NOW.date().isoformat())
    (row,) = pipeline.query(saved_query("share-of-second-opinions"))
    assert tuple(row.values()) == ("hive-7", HOUR.date(), 6, 16.67, 16.67)


def test_messages_of_others_are_not_taken(pipeline: ResultsPipeline) -> None:
    message = detections()
    for topic, payload in (
        ("beeagent/hive-8/front/detections", message.to_json()),  # as another device
        ("beeagent/hive-7/back/detections", message.to_json()),  # as another camera
        ("beeagent/hive-7/detections", message.to_json()),
        ("other/hive-7/front/detections", message.to_json()),
        ("beeagent/hive-7/front/detections", b'{"device": "hive-7", "camera": "front"}'),
        ("beeagent/hive-7/front/traffic", message.to_json()),
    ):
        assert pipeline.publish(topic, payload, now_ms=1) == []


def test_requests_fit_the_models_of_aws() -> None:
    """Moto makes the rest; these it does not check, or does not know."""

    def lower(value: Any) -> Any:  # noqa: ANN401 - any part of a template
        if isinstance(value, list):
            return [lower(one) for one in value]
        if isinstance(value, dict):
            return {key[0].lower() + key[1:]: lower(one) for key, one in value.items()}
        return value

    requests = [
        ("iot", "CreateTopicRule", lower(resolved(rule))) for rule in resources("IoT::TopicRule", file=RESULTS).values()
    ]
    queries = resources("Athena::NamedQuery", file=RESULTS).values()
    requests += [("athena", "CreateNamedQuery", resolved(query)) for query in queries]
    group = resolved(resources("Athena::WorkGroup", file=RESULTS)["Workgroup"])
    group["Configuration"] = group.pop("WorkGroupConfiguration")
    del group["RecursiveDeleteOption"]  # of the removal
    requests.append(("athena", "CreateWorkGroup", group))
    for service, operation, request in requests:
        shape = service_model(service).operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()


def test_roles_have_minimum_permissions() -> None:
    roles = resources("IAM::Role", file=RESULTS)
    assert len(roles) == 2
    for role in roles.values():
        assert "ManagedPolicyArns" not in role
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        for policy in role["Policies"]:
            for statement in statements(policy["PolicyDocument"]):
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                assert not any("*" in action for action in actions), statement
                assert statement["Resource"] != "*", statement


def test_everything_is_encrypted_with_the_key_and_has_an_end() -> None:
    key = {"Fn::GetAtt": ["Key", "Arn"]}
    for stream in resources("KinesisFirehose::DeliveryStream", file=RESULTS).values():
        assert stream["DeliveryStreamEncryptionConfigurationInput"]["KeyARN"] == key
        destination = stream["ExtendedS3DestinationConfiguration"]
        assert destination["EncryptionConfiguration"]["KMSEncryptionConfig"]["AWSKMSKeyARN"] == key
    assert resources("SQS::Queue", file=RESULTS)["DeadLetterQueue"]["KmsMasterKeyId"] == key
    group = resources("Athena::WorkGroup", file=RESULTS)["Workgroup"]["WorkGroupConfiguration"]
    assert group["ResultConfiguration"]["EncryptionConfiguration"] == {"EncryptionOption": "SSE_KMS", "KmsKey": key}
    bucket = resources("S3::Bucket", file=RESULTS)["Bucket"]
    expiring = {rule["Prefix"] for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule}
    assert expiring == {"detections/", "traffic/", "status/", "dead-letters/", "query-results/"}
    for rule in resources("IoT::TopicRule", file=RESULTS).values():
        assert rule["TopicRulePayload"]["ErrorAction"]["Sqs"]["QueueUrl"] == {"Ref": "DeadLetterQueue"}


@pytest.mark.parametrize("sql", ["SELECT a FROM 'x' WHERE b = 'c'", "SELECT * FROM 'x' WHERE upper(b) = 'C'"])
def test_rule_interpreter_refuses_unknown_syntax(sql: str) -> None:
    with pytest.raises(AssertionError):
        RuleSql(sql).record("x", {"b": "c"}, now_ms=1)
