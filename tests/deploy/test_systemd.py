"""The guide of the systemd service."""

import json
import re
from pathlib import Path

from beeagent.messages import detections_topic, events_topic, state_topic, status_topic, traffic_topic

GUIDE = Path(__file__).parents[2] / "deploy" / "systemd" / "README.md"


def test_iot_policy_permits_each_topic_of_the_agent() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    policy = json.loads(re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0])

    resources = {statement["Action"]: statement["Resource"] for statement in policy["Statement"]}

    retained = {state_topic("beeagent", "hive-7", "front"), status_topic("beeagent", "hive-7")}
    durable = {topic("beeagent", "hive-7", "front") for topic in (detections_topic, traffic_topic, events_topic)}
    assert topics(resources["iot:Publish"]) == retained | durable
    assert topics(resources["iot:RetainPublish"]) == retained


def topics(resources: list[str]) -> set[str]:
    return {resource.partition(":topic/")[2] for resource in resources}
