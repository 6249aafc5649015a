"""The published messages, their topics and JSON Schemas."""

from beeagent.messages.detections import (
    Box,
    DecidedBy,
    Detection,
    DetectionsMessage,
    FrameSize,
    Latency,
    PublishRule,
    Source,
    detections_json,
    detections_message,
)
from beeagent.messages.event import EVENT_TYPES, EventMessage, UsualCounts, event_message
from beeagent.messages.fleet import HEALTHS, DeviceHealth, device_health, outliers_first
from beeagent.messages.home_assistant import Announcement, announced_components, discovery_topic
from beeagent.messages.message import Asleep, Message, MessageTooLargeError, Part, UnreadableError, rfc3339
from beeagent.messages.schema import load_schema
from beeagent.messages.state import LineState, OutboxState, StateMessage, ZoneState, state_message
from beeagent.messages.status import (
    CameraStatus,
    CollectionStatus,
    OutboxStatus,
    SecondOpinionStatus,
    State,
    StatusMessage,
    status_message,
)
from beeagent.messages.topics import (
    MAX_TOPIC_BYTES,
    detections_topic,
    events_topic,
    state_topic,
    status_topic,
    traffic_topic,
)
from beeagent.messages.traffic import InOut, LineTraffic, TrafficMessage, ZoneTraffic, traffic_message

__all__ = [
    "EVENT_TYPES",
    "HEALTHS",
    "MAX_TOPIC_BYTES",
    "Announcement",
    "Asleep",
    "Box",
    "CameraStatus",
    "CollectionStatus",
    "DecidedBy",
    "Detection",
    "DetectionsMessage",
    "DeviceHealth",
    "EventMessage",
    "FrameSize",
    "InOut",
    "Latency",
    "LineState",
    "LineTraffic",
    "Message",
    "MessageTooLargeError",
    "OutboxState",
    "OutboxStatus",
    "Part",
    "PublishRule",
    "SecondOpinionStatus",
    "Source",
    "State",
    "StateMessage",
    "StatusMessage",
    "TrafficMessage",
    "UnreadableError",
    "UsualCounts",
    "ZoneState",
    "ZoneTraffic",
    "announced_components",
    "detections_json",
    "detections_message",
    "detections_topic",
    "device_health",
    "discovery_topic",
    "event_message",
    "events_topic",
    "load_schema",
    "outliers_first",
    "rfc3339",
    "state_message",
    "state_topic",
    "status_message",
    "status_topic",
    "traffic_message",
    "traffic_topic",
]
