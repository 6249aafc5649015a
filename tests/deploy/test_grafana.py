"""The configuration of Telegraf and Grafana fits the state message."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beeagent.messages import StateMessage, TrafficMessage, load_schema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
COUNTS = {"per_minute": {"in": 1, "out": 2}, "today": {"in": 1, "out": 3}, "away": 2, "total": {"in": 5, "out": 9}}
TIME = "2026-05-04T10:21:07.000000Z"
STATE = {
    "schema": "beeagent.state/1", "device": "hive-7", "camera": "front", "at": TIME, "model": "bees@12345678",
    "watching": True, "objects": {"bee": 4}, "frames_per_s": 9.8, "asleep": False, "camera_problem": False,
    "problems": ["a", "b"], "temperature_c": 51.5,
    "outbox": {"waiting": 1, "dropped": 0, "last_delivery_at": TIME}, "day": "2026-05-04", "day_began_at": TIME,
    "first_flight_at": TIME, "last_flight_at": TIME, "lines": {"door": {"bee": COUNTS}},
    "zones": {"box": {"bee": {**COUNTS, "inside": 3}}},
}  # fmt: skip


def flat(value: Any, *path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Yield name and value of each field, as Telegraf's json_v2 parser names them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, *path, key)
    else:
        yield "_".join(path), value


def parsed() -> dict[str, Any]:
    """Return the fields that Telegraf makes of a state message."""
    (parser,) = configuration()["json_v2"]
    (part,) = parser["object"]
    left_out = {*part["excluded_keys"], *part["tags"]}
    return {name: value for name, value in flat(STATE) if name not in left_out}


def configuration() -> dict[str, Any]:
    content = tomllib.loads((FOLDER / "telegraf.conf").read_text(encoding="utf-8"))
    (consumer,) = content["inputs"]["mqtt_consumer"]
    found: dict[str, Any] = consumer
    return found


def test_telegraf_takes_every_number_and_no_list() -> None:
    StateMessage.model_validate(STATE)
    assert set(STATE) == set(load_schema("state")["properties"])  # the example has every field
    (parser,) = configuration()["json_v2"]
    assert parser["timestamp_path"] in STATE
    names = {name for name, _ in flat(STATE)}
    assert {*parser["object"][0]["excluded_keys"], *parser["object"][0]["tags"]} <= names
    fields = parsed()
    assert not [name for name, value in fields.items() if isinstance(value, list)]
    numbers = {name for name, value in flat(STATE) if isinstance(value, int | float)}
    assert {name for name in fields if name != "model"} == numbers
    assert configuration()["topics"] == ["beeagent/+/+/state"]


def test_keys_that_the_readme_excludes_of_traffic_exist() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    excluded = json.loads("[" + re.findall(r"`excluded_keys = \[(.*?)\]`", text)[0] + "]")
    known = {field.alias or name for name, field in TrafficMessage.model_fields.items()}
    assert set(excluded) <= known


def test_each_query_of_the_dashboard_finds_fields() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    measurement = configuration()["json_v2"][0]["measurement_name"]
    fields = parsed()
    queries = [target["query"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) == len(dashboard["panels"])
    for query in queries:
        assert f'FROM "{measurement}"' in query
        (pattern,) = re.findall(r"SELECT [a-z_(]+\(/(.*?)/\)", query)
        assert [name for name in fields if re.search(pattern, name)], query
