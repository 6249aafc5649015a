"""The address of the page in the announcement to Home Assistant."""

import json

import pytest
from beeagent.messages.home_assistant import Announcement


@pytest.mark.parametrize("page", [None, "http://hive.local:8470"])
def test_announcement_names_the_page(page: str | None) -> None:
    announcement = Announcement(
        topic_prefix="beeagent", device="hive-7", camera="front", labels=("bee",), lines=(), zones=(),
        agent_version="1", expire_after_s=90, page=page,
    )  # fmt: skip
    device = json.loads(announcement.encode(removed={}, limit=100_000))["device"]
    assert device.get("configuration_url") == page
