"""The path of a message in deploy/cloud/results.yaml: IoT rule, Firehose, Parquet, Athena.

moto carries out none of the rule's SQL, of the conversion and of the queries, so stand-ins do: the SQL of the rules by
the few forms that the template uses, the conversion and the queries by DuckDB, with sqlglot to translate from Athena's
SQL. Glue's tables, Firehose's streams and the bucket are moto's.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import duckdb
import sqlglot

from support.cloud_stack import ACCOUNT, resources, template
from support.moto_aws import REGION

RESULTS: Final = "results.yaml"
BUCKET: Final = "my-results"
TABLES: Final = {"detections": "Detections", "traffic": "Traffic", "status": "Status"}
_PARAMETERS: Final = {"BucketName": BUCKET, "Name": "beeagent", "TopicPrefix": "beeagent"}
_RULE: Final = re.compile(r"SELECT (?P<items>.*?) FROM '(?P<filter>[^']*)' WHERE (?P<conditions>.*)")


def resolved(value: Any) -> Any:  # noqa: ANN401 - any part of a template
    """Return a part of the template with its parameters and references filled in."""
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return _reference(value["Ref"])
    if "Fn::Sub" in value:
        text = re.sub(r"\$\{([A-Za-z:.]+)\}", lambda found: _reference(found[1]), value["Fn::Sub"])
        return text.replace("${!", "${")
    if "Fn::GetAtt" in value:
        name, _ = value["Fn::GetAtt"]
        kind = template(RESULTS)["Resources"][name]["Type"]
        return {
            "AWS::S3::Bucket": f"arn:aws:s3:::{BUCKET}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012",
        }[kind]
    return {key: resolved(one) for key, one in value.items()}


def _reference(name: str) -> Any:  # noqa: ANN401 - of each parameter its own
    pseudo = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws"}
    read = template(RESULTS)
    if name in pseudo:
        return pseudo[name]
    if name in _PARAMETERS:
        return _PARAMETERS[name]
    if name in read["Parameters"]:
        return read["Parameters"][name]["Default"]
    properties = read["Resources"][name]["Properties"]
    for key in ("BucketName", "DeliveryStreamName", "LogGroupName", "LogStreamName", "QueueName"):
        if key in properties:
            return resolved(properties[key])
    return resolved(properties.get("TableInput", properties.get("DatabaseInput", properties))["Name"])


class RuleSql:
    """The SQL of a rule: `*`, `timestamp()`, `topic(n)`, texts, fields, `=` and `AND`; it refuses the rest."""

    def __init__(self, sql: str) -> None:
        found = _RULE.fullmatch(" ".join(sql.split()))
        assert found is not None, sql
        self._items = [item.strip() for item in found["items"].split(",")]
        self._filter = found["filter"].split("/")
        self._conditions = [condition.split(" = ") for condition in found["conditions"].split(" AND ")]

    def record(self, topic: str, message: Mapping[str, Any], *, now_ms: int) -> dict[str, Any] | None:
        """Return the record for the actions; None if the rule does not match."""
        levels = topic.split("/")
        if len(levels) != len(self._filter) or not all(
            wanted in ("+", level) for wanted, level in zip(self._filter, levels, strict=True)
        ):
            return None
        if not all(
            self._value(left, levels, message) == self._value(right, levels, message)
            for left, right in self._conditions
        ):
            return None
        record: dict[str, Any] = {}
        for item in self._items:
            if item == "*":
                record |= message
            else:
                expression, _, name = item.partition(" AS ")
                assert expression == "timestamp()", item
                record[name] = now_ms
        return record

    def _value(self, text: str, levels: list[str], message: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of JSON
        if found := re.fullmatch(r"topic\((\d)\)", text):
            return levels[int(found[1]) - 1]
        if found := re.fullmatch("'([^']*)'", text):
            return found[1]
        assert re.fullmatch("[a-z_]+", text), text
        return message.get(text)


def duckdb_type(glue: str) -> str:
    """Return DuckDB's name of a type of Glue's."""
    simple = {"string": "VARCHAR", "bigint": "BIGINT", "int": "INTEGER", "double": "DOUBLE"}
    if glue in simple:
        return simple[glue]
    kind, _, rest = glue.partition("<")
    parts = _split(rest.removesuffix(">"))
    if kind == "array":
        return f"{duckdb_type(parts[0])}[]"
    if kind == "map":
        return f"MAP({duckdb_type(parts[0])}, {duckdb_type(parts[1])})"
    assert kind == "struct", glue
    fields = (part.partition(":") for part in parts)
    return "STRUCT(" + ", ".join(f'"{name}" {duckdb_type(one)}' for name, _, one in fields) + ")"


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "<") - (character == ">")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


class ResultsPipeline:
    """Tables, streams and bucket of the template in moto, and a folder for what Firehose would write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        self._rules = {
            name: RuleSql(
                resolved(resources("IoT::TopicRule", file=RESULTS)[f"{title}Rule"]["TopicRulePayload"]["Sql"])
            )
            for name, title in TABLES.items()
        }
        self._s3, self._glue, self._firehose = boto3.client("s3"), boto3.client("glue"), boto3.client("firehose")
        self._s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self._glue.create_database(**resolved(resources("Glue::Database", file=RESULTS)["Database"]))
        for title in TABLES.values():
            self._glue.create_table(**resolved(resources("Glue::Table", file=RESULTS)[f"{title}Table"]))
            streams = resources("KinesisFirehose::DeliveryStream", file=RESULTS)
            self._firehose.create_delivery_stream(**resolved(streams[f"{title}Stream"]))

    def publish(self, topic: str, payload: bytes, *, now_ms: int) -> list[str]:
        """Let the rules have a message; return the tables that it went to."""
        taken = []
        for name, rule in self._rules.items():
            record = rule.record(topic, json.loads(payload), now_ms=now_ms)
            if record is not None:
                data = json.dumps(record).encode() + b"\n"
                self._firehose.put_record(DeliveryStreamName=f"beeagent_{name}", Record={"Data": data})
                taken.append(name)
        return taken

    def convert(self, *, day: str) -> None:
        """Write what the streams have put into the bucket as Parquet, by the columns of the tables."""
        for name in TABLES:
            found = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/").get("Contents", [])
            records = self._folder / f"{name}.jsonl"
            records.write_bytes(
                b"".join(self._s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found)
            )
            table = self._glue.get_table(DatabaseName="beeagent", Name=name)["Table"]
            stream = self._firehose.describe_delivery_stream(DeliveryStreamName=f"beeagent_{name}")
            keys = _json_keys(stream["DeliveryStreamDescription"])
            columns = {one["Name"]: duckdb_type(one["Type"]) for one in table["StorageDescriptor"]["Columns"]}
            read = ", ".join(f"'{keys.get(column, column)}': '{kind}'" for column, kind in columns.items())
            chosen = ", ".join(f'"{keys.get(column, column)}" AS "{column}"' for column in columns)
            target = self._folder / name / f"day={day}"
            target.mkdir(parents=True, exist_ok=True)
            self._database.execute(
                f"COPY (SELECT {chosen} FROM read_json('{records}', columns={{{read}}}, format='newline_delimited'))"  # noqa: S608 - a test's
                f" TO '{target}/results.parquet' (FORMAT parquet, COMPRESSION snappy)"
            )
            self._database.execute(
                f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{self._folder}/{name}/*/*.parquet', "  # noqa: S608 - a test's
                "hive_partitioning = true, hive_types = {'day': VARCHAR})"
            )

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query in Athena's SQL."""
        (translated,) = sqlglot.transpile(sql, read="athena", write="duckdb")
        answer = self._database.execute(translated)
        names = [column[0] for column in answer.description or []]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _json_keys(description: Mapping[str, Any]) -> Mapping[str, str]:
    (destination,) = description["Destinations"]
    conversion = destination["ExtendedS3DestinationDescription"]["DataFormatConversionConfiguration"]
    deserializer = conversion["InputFormatConfiguration"]["Deserializer"]["OpenXJsonSerDe"]
    keys: Mapping[str, str] = deserializer.get("ColumnToJsonKeyMappings", {})
    return keys
