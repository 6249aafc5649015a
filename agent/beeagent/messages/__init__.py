"""The messages that are published, their topics and JSON Schemas."""

from beeagent.messages.detections import (
    Box,
    DecidedBy,
    Detection,
    DetectionsMessage,
    FrameSize,
    Latency,
    PublishRule,
    Source,
    detections_message,
)
from beeagent.messages.fleet import HEALTHS, DeviceHealth, device_health, outliers_first
from beeagent.messages.message import Asleep, Message, MessageTooLargeError, Part, UnreadableError, rfc3339
from beeagent.messages.schema import load_schema
from beeagent.messages.status import (
    CameraStatus,
    CollectionStatus,
    OutboxStatus,
    SecondOpinionStatus,
    State,
    StatusMessage,
    status_message,
)
from beeagent.messages.topics import MAX_TOPIC_BYTES, detections_topic, status_topic, traffic_topic
from beeagent.messages.traffic import InOut, LineTraffic, TrafficMessage, ZoneTraffic, traffic_message

__all__ = [
    "HEALTHS",
    "MAX_TOPIC_BYTES",
    "Asleep",
    "Box",
    "CameraStatus",
    "CollectionStatus",
    "DecidedBy",
    "Detection",
    "DetectionsMessage",
    "DeviceHealth",
    "FrameSize",
    "InOut",
    "Latency",
    "LineTraffic",
    "Message",
    "MessageTooLargeError",
    "OutboxStatus",
    "Part",
    "PublishRule",
    "SecondOpinionStatus",
    "Source",
    "State",
    "StatusMessage",
    "TrafficMessage",
    "UnreadableError",
    "ZoneTraffic",
    "detections_message",
    "detections_topic",
    "device_health",
    "load_schema",
    "outliers_first",
    "rfc3339",
    "status_message",
    "status_topic",
    "traffic_message",
    "traffic_topic",
]
