"""The topics of results, statuses, traffic, events and states."""

from typing import Final

from beeagent.errors import InputError

# AWS IoT Core's limits on topics, which are applied with all brokers, so that topics remain valid after a move to AWS.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_MAX_SLASHES: Final = 7
MAX_TOPIC_BYTES: Final = 256


def detections_topic(prefix: str, device: str, camera: str) -> str:
    """Return the topic of a camera's results, such as `beeagent/hive-7/front/detections`.

    Raises:
        InputError: the prefix or a name is not valid in a topic, or the topic exceeds a limit of AWS IoT.
    """
    return _topic(prefix, ("device", device), ("camera", camera), leaf="detections")


def events_topic(prefix: str, device: str, camera: str) -> str:
    """Return the topic of a camera's events, such as `beeagent/hive-7/front/events`.

    Raises:
        InputError: the prefix or a name cannot be in a topic, or the topic passes a limit of AWS IoT.
    """
    return _topic(prefix, ("device", device), ("camera", camera), leaf="events")


def state_topic(prefix: str, device: str, camera: str) -> str:
    """Return the topic of a camera's live values, such as `beeagent/hive-7/front/state`.

    Raises:
        InputError: the prefix or a name is not valid in a topic, or the topic exceeds a limit of AWS IoT.
    """
    return _topic(prefix, ("device", device), ("camera", camera), leaf="state")


def status_topic(prefix: str, device: str) -> str:
    """Return the topic of a device's status, such as `beeagent/hive-7/status`.

    Raises:
        InputError: the prefix or a name is not valid in a topic, or the topic exceeds a limit of AWS IoT.
    """
    return _topic(prefix, ("device", device), leaf="status")


def traffic_topic(prefix: str, device: str, camera: str) -> str:
    """Return the topic of a camera's traffic, such as `beeagent/hive-7/front/traffic`.

    Raises:
        InputError: the prefix or a name is not valid in a topic, or the topic exceeds a limit of AWS IoT.
    """
    return _topic(prefix, ("device", device), ("camera", camera), leaf="traffic")


def check_prefix(what: str, prefix: str) -> None:
    """Check the first levels of a topic.

    Raises:
        InputError: the prefix is not valid in a topic; the message names it `what`.
    """
    if prefix.startswith("$"):
        raise InputError(f"{what} {prefix!r} begins with '$': such topics belong to the broker; choose another")
    for level in prefix.split("/"):
        _check_level(what, prefix, level)


def _topic(prefix: str, *names: tuple[str, str], leaf: str) -> str:
    check_prefix("topic prefix", prefix)
    for what, name in names:
        if "/" in name:
            raise InputError(f"{what} name {name!r} has a '/': it is one level of the topic; leave the '/' out")
        _check_level(f"{what} name", name, name)
    topic = "/".join((prefix, *(name for _, name in names), leaf))
    if topic.count("/") > _MAX_SLASHES:
        raise InputError(
            f"topic {topic!r} has {topic.count('/')} slashes and AWS IoT accepts {_MAX_SLASHES} at most: "
            f"shorten the topic prefix {prefix!r}"
        )
    if len(topic.encode()) > MAX_TOPIC_BYTES:
        raise InputError(
            f"topic {topic!r} is {len(topic.encode())} bytes long and AWS IoT accepts {MAX_TOPIC_BYTES} at most: "
            "shorten the topic prefix or the names"
        )
    return topic


def _check_level(what: str, value: str, level: str) -> None:
    if not level:
        raise InputError(f"{what} {value!r} is or has an empty level: give it a name")
    for character in level:
        if character in "+#":
            raise InputError(f"{what} {value!r} has a {character!r}, reserved by MQTT for subscriptions: leave it out")
        # MQTT discourages control characters and forbids NUL; lone surrogates cannot be encoded as UTF-8.
        if ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F or 0xD800 <= ord(character) <= 0xDFFF:
            raise InputError(f"{what} {value!r} has the character {character!r}, not allowed in a topic: leave it out")
