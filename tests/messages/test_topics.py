import pytest
from beeagent.errors import InputError
from beeagent.messages import detections_topic, status_topic
from hypothesis import given
from hypothesis import strategies as st


def test_topics_are_those_of_the_design() -> None:
    assert detections_topic("beeagent", "hive-7", "front") == "beeagent/hive-7/front/detections"
    assert status_topic("beeagent", "hive-7") == "beeagent/hive-7/status"


def test_seven_slashes_pass_and_eight_do_not() -> None:
    assert detections_topic("a/b/c/d/e", "hive", "front").count("/") == 7
    with pytest.raises(InputError, match="8 slashes"):
        detections_topic("a/b/c/d/e/f", "hive", "front")


def test_256_bytes_pass_and_257_do_not() -> None:
    rest = len("/hive/front/detections")
    assert len(detections_topic("ü" * ((256 - rest) // 2), "hive", "front").encode()) == 256
    with pytest.raises(InputError, match="258 bytes"):
        detections_topic("ü" * ((256 - rest) // 2 + 1), "hive", "front")


@pytest.mark.parametrize(
    "prefix", ["", "/bees", "bees/", "a//b", "bees/+", "#", "be+es", "$aws", "a\0b", "a\nb", "\ud800"]
)
def test_prefixes_that_are_refused(prefix: str) -> None:
    with pytest.raises(InputError, match="topic prefix"):
        detections_topic(prefix, "hive", "front")
    with pytest.raises(InputError, match="topic prefix"):
        status_topic(prefix, "hive")


@pytest.mark.parametrize("name", ["", "a/b", "+", "x#", "a\x7f"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="device name"):
        status_topic("bees", name)
    with pytest.raises(InputError, match="camera name"):
        detections_topic("bees", "hive", name)


@given(st.text(), st.text(), st.text())
def test_any_topic_is_usable_or_refused_in_one_line(prefix: str, device: str, camera: str) -> None:
    try:
        topic = detections_topic(prefix, device, camera)
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017 - not every text is refused
        return
    assert topic == f"{prefix}/{device}/{camera}/detections"
    assert topic.count("/") <= 7
    assert 0 < len(topic.encode()) <= 256
    assert not set(topic) & set("+#\0")
    assert all(topic.split("/"))
