"""A fake Greengrass nucleus: the real wire format on a real Unix socket, with the observed behaviour of real nuclei.

It implements the operations that the agent uses, and responds with the names and shapes that `awsiotsdk` defines for
them. It can fail as devices do: missing permissions, an unreachable cloud, a spool that loses messages, slow responses,
closed connections, expired tokens, operations that a nucleus lite does not have.
"""

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from support.greengrass_wire import (
    ACCEPTED,
    APPLICATION_ERROR,
    APPLICATION_MESSAGE,
    CONNECT,
    CONNECT_ACK,
    TERMINATE,
    Message,
    read_message,
)

DEADLINE: Final = 45.0
# Observed with nucleus lite 2.6: payloads of 7,000 bytes pass, 7,100 fail, and about 10,000 end the connection.
MAX_BYTES: Final = 7_000
DISCONNECTS_FROM: Final = 10_000
NOT_ON_LITE: Final = frozenset(
    {
        "DeferComponentUpdate",
        "SubscribeToComponentUpdates",
        "SubscribeToValidateConfigurationUpdates",
        "SendConfigurationValidityReport",
        "GetSecretValue",
    }
)


@dataclass(frozen=True)
class Kind:
    """Properties of a kind of nucleus.

    Attributes:
        payload_bytes: maximum payload of a publish; more is a `ServiceError`.
        disconnects_from: bytes of a publish that end the connection; None for never.
        packet_bytes: maximum size of an MQTT packet from the broker (the Maximum Packet Size of MQTT 5): it
            silently drops longer ones.
        unacknowledged: publishes without PUBACK; one more is a `ServiceError`.
        unacknowledged_bytes: maximum total size of those.
        missing: operations that it does not have.
        replaces_thing: whether `{iot:thingName}` in accessControl is replaced; otherwise it is compared literally.
        spools: whether publishing succeeds while the cloud is unreachable.
        retains: whether `retain` reaches the broker.
    """

    payload_bytes: int
    disconnects_from: int | None
    packet_bytes: int
    unacknowledged: int
    unacknowledged_bytes: int
    missing: frozenset[str]
    replaces_thing: bool
    spools: bool
    retains: bool


LITE: Final = Kind(MAX_BYTES, DISCONNECTS_FROM, 5_000, 10, 15_000, NOT_ON_LITE, False, False, False)  # noqa: FBT003
"""As observed with nucleus lite 2.6.0."""
LITE_MAIN: Final = replace(LITE, replaces_thing=True)
CLASSIC: Final = Kind(128 * 1024, None, 128 * 1024, 100, 2_500_000, frozenset(), False, True, True)  # noqa: FBT003
"""With its default settings; with `interpolateComponentConfiguration: true` it replaces the thing's name."""
CLASSIC_INTERPOLATING: Final = replace(CLASSIC, replaces_thing=True)

_PACKET_HEADER: Final = 10  # bytes of a PUBLISH packet beside topic and payload
_PREFIX: Final = "aws.greengrass#"
_SERVICES: Final = {
    "PublishToIoTCore": "aws.greengrass.ipc.mqttproxy",
    "SubscribeToIoTCore": "aws.greengrass.ipc.mqttproxy",
    "PublishToTopic": "aws.greengrass.ipc.pubsub",
    "GetSecretValue": "aws.greengrass.SecretManager",
}
Handler = Callable[["_Stream", dict[str, Any]], Coroutine[Any, Any, None]]


class IpcError(Exception):
    """Fails a request with an error of that name, without a message, as a nucleus lite does."""


class _Stream:
    """One request, and the stream of its responses."""

    def __init__(self, writer: asyncio.StreamWriter, number: int, operation: str) -> None:
        self._writer = writer
        self._number = number
        self.operation = operation
        self.open = True

    def answer(self, shape: str, content: Mapping[str, Any], *, last: bool) -> None:
        self._send(APPLICATION_MESSAGE, shape, content, TERMINATE if last else 0)

    def fail(self, shape: str) -> None:
        self._send(APPLICATION_ERROR, shape, {}, TERMINATE)

    def belongs_to(self, writer: asyncio.StreamWriter, number: int) -> bool:
        return (self._writer, self._number) == (writer, number)

    def end(self) -> None:
        """Close this stream, but not the connection."""
        if self.open:
            self.open = False
            self._writer.write(Message(APPLICATION_MESSAGE, self._number, TERMINATE).encoded())

    def _send(self, kind: int, shape: str, content: Mapping[str, Any], flags: int) -> None:
        headers = {":content-type": "application/json", "service-model-type": f"{_PREFIX}{shape}"}
        self._writer.write(Message(kind, self._number, flags, headers, json.dumps(content).encode()).encoded())


class Nucleus:
    """The nucleus of one device. The attributes may be changed at any time, from any thread.

    Attributes:
        kind: its properties.
        thing: name of the device's IoT thing.
        token: the valid SVCUID.
        configuration: configuration of the component, with its `accessControl`.
        missing: operations that are not supported, beside those of its kind.
        online: whether the cloud is reachable.
        round_trip_s: seconds until the cloud's PUBACK, and until the echo on a subscription.
        echoes: whether the cloud sends messages to the subscriptions of their topics.
        drops_echo: returns whether it omits that for a payload.
        echoed: number of messages with an echo.
        delay: seconds before each response.
        unresponsive: whether requests get no response.
        secrets: secrets by name.
        cloud: topics and payloads that have reached AWS IoT Core, in order.
        local: those that were published to components on the device.
        retained: payload that the broker retains, by topic.
        spool: messages that wait for the cloud.
        deferrals: deferred component updates: deployment, and milliseconds.
        reports: reports on configurations: deployment, status and message.
        connections: number of connections whose token was accepted.
        refused: number of those whose token was not.
        calls: the operations that were called, in order.
        failures: number of requests that failed.
    """

    def __init__(self, socket: Path, kind: Kind = LITE) -> None:
        self.socket = socket
        self.kind = kind
        self.thing = "hive-7"
        self.token = "svcuid-1"  # noqa: S105 - of this test
        self.configuration: dict[str, Any] = {}
        self.missing: frozenset[str] = frozenset()
        self.online = True
        self.round_trip_s = 0.0
        self.echoes = True
        self.drops_echo: Callable[[bytes], bool] = lambda _: False
        self.echoed = 0
        self.delay = 0.0
        self.unresponsive = False
        self.secrets: dict[str, str] = {}
        self.cloud: list[tuple[str, bytes]] = []
        self.local: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.spool: list[tuple[str, bytes]] = []
        self.deferrals: list[tuple[str, int]] = []
        self.reports: list[tuple[str, str, str]] = []
        self.connections = 0
        self.refused = 0
        self.calls: list[str] = []
        self.failures = 0
        self._unacknowledged: list[int] = []  # sizes
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.AbstractServer | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribed: dict[str, list[tuple[str, _Stream]]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="nucleus", daemon=True)

    # Used by tests.

    def start(self) -> None:
        """Listen; may be called again after `stop`, like a daemon that restarts."""
        if not self._thread.is_alive():
            self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        """End the connections and stop listening; the socket is removed."""
        self._do(self._close())

    def end(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    def close_connections(self) -> None:
        """End all connections."""
        self._do(self._close_connections())

    def close_streams(self, operation: str) -> None:
        """End all subscriptions of an operation, but no connection."""
        self._do(self._close_streams(operation))

    def restart_iotcored(self) -> None:
        """Forget the subscriptions in the cloud; the streams stay open, but no message arrives any more."""
        self._do(self._forget_all("SubscribeToIoTCore"))

    def restart_ggconfigd(self) -> None:
        """Forget the subscriptions to changes of the configuration; the streams stay open."""
        self._do(self._forget_all("SubscribeToConfigurationUpdate"))

    def permit(self, **resources: Iterable[str]) -> None:
        """Set an `accessControl` that permits these operations for these resources only."""
        self.configuration = {**self.configuration, "accessControl": access_control(**resources)}

    def last(self, topic: str) -> bytes | None:
        """Return the last payload that reached the cloud on a topic; None if none has."""
        return next((payload for to, payload in reversed(self.cloud) if to == topic), None)

    def configure(self, **changed: Any) -> None:  # noqa: ANN401 - any setting
        """Merge into the configuration, and send the events."""
        self.configuration = {**self.configuration, **changed}
        for key in changed:
            event = {"configurationUpdateEvent": {"componentName": "io.beeagent.Agent", "keyPath": [key]}}
            self.send_event("SubscribeToConfigurationUpdate", "ConfigurationUpdateEvents", event)

    def announce_update(self, deployment: str) -> None:
        """Announce that a deployment is about to stop the component."""
        event = {"preUpdateEvent": {"deploymentId": deployment, "isGgcRestarting": False}}
        self.send_event("SubscribeToComponentUpdates", "ComponentUpdatePolicyEvents", event)

    def request_validation(self, deployment: str, configuration: dict[str, Any]) -> None:
        """Ask the component to validate a configuration."""
        event = {"validateConfigurationUpdateEvent": {"deploymentId": deployment, "configuration": configuration}}
        self.send_event("SubscribeToValidateConfigurationUpdates", "ValidateConfigurationUpdateEvents", event)

    def send_event(self, operation: str, shape: str, event: dict[str, Any], *, key: str | None = None) -> None:
        """Send an event to all subscriptions of an operation, or to those of one topic."""
        self._do(self._send_event(operation, shape, event, key))

    def subscribers(self, operation: str) -> int:
        """Return the number of subscriptions of an operation."""
        return len(self._subscribed.get(operation, []))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition on this nucleus."""
        with self._changed:
            assert self._changed.wait_for(holds, timeout=DEADLINE), (self.calls[-20:], self.cloud[-3:], self.local[-3:])

    def go_online(self) -> None:
        """Make the cloud reachable, and publish the messages in the spool."""
        self.online = True
        waiting, self.spool = self.spool, []
        for topic, payload in waiting:
            self._do(self._take(topic, payload))

    # The implementation.

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)
        self._note()

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def _listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.socket.unlink(missing_ok=True)
        await self._close_connections()

    async def _close_connections(self) -> None:
        self._subscribed.clear()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _close_streams(self, operation: str) -> None:
        for _, stream in self._subscribed.pop(operation, []):
            stream.end()

    async def _forget_all(self, operation: str) -> None:
        self._subscribed[operation] = []

    def _forget(self, writer: asyncio.StreamWriter, number: int) -> None:
        for operation, subscriptions in self._subscribed.items():
            for _, stream in subscriptions:
                if stream.belongs_to(writer, number):
                    stream.end()
            self._subscribed[operation] = [(key, stream) for key, stream in subscriptions if stream.open]

    async def _send_event(self, operation: str, shape: str, event: dict[str, Any], key: str | None) -> None:
        for wanted, stream in self._subscribed.get(operation, []):
            if key is None or wanted == key:
                stream.answer(shape, event, last=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._accept(await read_message(reader), writer):
                while True:
                    request = await read_message(reader)
                    if request.flags & TERMINATE:  # the client ends a subscription
                        self._forget(writer, request.stream)
                        continue
                    task = asyncio.ensure_future(self._handle(request, writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        self._writers.discard(writer)
        writer.close()

    async def _accept(self, first: Message, writer: asyncio.StreamWriter) -> bool:
        assert (first.kind, first.stream) == (CONNECT, 0)
        assert first.headers[":version"] == "0.1.0"
        accepted = json.loads(first.payload)["authToken"] == self.token
        self.connections += accepted
        self.refused += not accepted
        writer.write(Message(CONNECT_ACK, 0, ACCEPTED if accepted else 0).encoded())
        await writer.drain()
        self._note()
        return accepted

    async def _handle(self, request: Message, writer: asyncio.StreamWriter) -> None:
        operation = request.headers["operation"].removeprefix(_PREFIX)
        assert request.headers["service-model-type"] == f"{_PREFIX}{operation}Request"
        stream = _Stream(writer, request.stream, operation)
        self.calls.append(operation)
        await asyncio.sleep(self.delay)
        if self.unresponsive:
            return
        try:
            missing = operation in self.missing | self.kind.missing
            answer: Handler = self._refuse if missing else getattr(self, f"_{_snake(operation)}")
            await answer(stream, json.loads(request.payload))
        except IpcError as error:
            self.failures += 1
            stream.fail(str(error))
        except ConnectionAbortedError:
            writer.transport.abort()
        self._note()

    def _check_right(self, operation: str, resource: str) -> None:
        if not permits(self.configuration, operation, resource, kind=self.kind, thing=self.thing):
            raise IpcError("UnauthorizedError")

    def _sized(self, request: dict[str, Any], *way: str) -> bytes:
        for part in way:
            request = request[part]
        payload = base64.b64decode(str(request))
        if self.kind.disconnects_from is not None and len(payload) >= self.kind.disconnects_from:
            raise ConnectionAbortedError
        if len(payload) > self.kind.payload_bytes:
            raise IpcError("ServiceError")
        return payload

    def _subscribe(self, stream: _Stream, key: str = "") -> None:
        self._subscribed.setdefault(stream.operation, []).append((key, stream))
        stream.answer(f"{stream.operation}Response", {}, last=False)

    async def _take(self, topic: str, payload: bytes) -> None:
        self.cloud.append((topic, payload))
        if self.echoes and not self.drops_echo(payload) and _packet(topic, payload) <= self.kind.packet_bytes:
            event = {"message": {"topicName": topic, "payload": base64.b64encode(payload).decode()}}
            self.echoed += any(key == topic for key, _ in self._subscribed.get("SubscribeToIoTCore", []))
            await self._send_event("SubscribeToIoTCore", "IoTCoreMessage", event, topic)

    @staticmethod
    async def _refuse(_stream: _Stream, _request: dict[str, Any]) -> None:
        raise IpcError("ServiceError")

    # The operations, each as `_` and its name.

    async def _publish_to_iot_core(self, stream: _Stream, request: dict[str, Any]) -> None:
        topic = request["topicName"]
        self._check_right("PublishToIoTCore", topic)
        payload = self._sized(request, "payload")
        assert request["qos"] in ("0", "1")
        # A classic nucleus by default does not keep QoS 0 while it is offline (keepQos0WhenOffline).
        if not (self.online or (self.kind.spools and request["qos"] == "1")):
            raise IpcError("ServiceError")
        size = _packet(topic, payload)
        if self.online:
            many = len(self._unacknowledged) >= self.kind.unacknowledged
            if many or sum(self._unacknowledged) + size > self.kind.unacknowledged_bytes:
                raise IpcError("ServiceError")  # MQTTNoMemory
        if request.get("retain") and self.kind.retains:
            self.retained[topic] = payload
        # A real one may respond before or after it has published the message.
        stream.answer("PublishToIoTCoreResponse", {}, last=True)
        if not self.online:
            self.spool.append((topic, payload))
            return
        self._unacknowledged.append(size)
        self._note()
        await asyncio.sleep(self.round_trip_s)
        self._unacknowledged.remove(size)
        await self._take(topic, payload)

    async def _subscribe_to_iot_core(self, stream: _Stream, request: dict[str, Any]) -> None:
        self._check_right("SubscribeToIoTCore", request["topicName"])
        if not (self.online or self.kind.spools):
            raise IpcError("ServiceError")
        self._subscribe(stream, request["topicName"])

    async def _publish_to_topic(self, stream: _Stream, request: dict[str, Any]) -> None:
        self._check_right("PublishToTopic", request["topic"])
        payload = self._sized(request, "publishMessage", "binaryMessage", "message")
        self.local.append((request["topic"], payload))
        stream.answer("PublishToTopicResponse", {}, last=True)

    async def _get_configuration(self, stream: _Stream, request: dict[str, Any]) -> None:
        value: Any = self.configuration
        for key in request.get("keyPath") or []:
            if not isinstance(value, dict) or key not in value:
                raise IpcError("ResourceNotFoundError")
            value = {key: value[key]} if not isinstance(value[key], dict) else value[key]
        answer = {"componentName": "io.beeagent.Agent", "value": value}
        stream.answer("GetConfigurationResponse", answer, last=True)

    async def _subscribe_to_configuration_update(self, stream: _Stream, request: dict[str, Any]) -> None:
        assert not request.get("componentName")
        self._subscribe(stream)

    async def _subscribe_to_component_updates(self, stream: _Stream, request: dict[str, Any]) -> None:
        assert request == {}
        self._subscribe(stream)

    async def _defer_component_update(self, stream: _Stream, request: dict[str, Any]) -> None:
        self.deferrals.append((request["deploymentId"], request["recheckAfterMs"]))
        stream.answer("DeferComponentUpdateResponse", {}, last=True)

    async def _subscribe_to_validate_configuration_updates(self, stream: _Stream, request: dict[str, Any]) -> None:
        assert request == {}
        self._subscribe(stream)

    async def _send_configuration_validity_report(self, stream: _Stream, request: dict[str, Any]) -> None:
        report = request["configurationValidityReport"]
        self.reports.append((report["deploymentId"], report["status"], report.get("message", "")))
        stream.answer("SendConfigurationValidityReportResponse", {}, last=True)

    async def _get_secret_value(self, stream: _Stream, request: dict[str, Any]) -> None:
        self._check_right("GetSecretValue", request["secretId"])
        if request["secretId"] not in self.secrets:
            raise IpcError("ResourceNotFoundError")
        answer = {
            "secretId": request["secretId"],
            "versionId": "1",
            "versionStage": ["AWSCURRENT"],
            "secretValue": {"secretString": self.secrets[request["secretId"]]},
        }
        stream.answer("GetSecretValueResponse", answer, last=True)


def _snake(name: str) -> str:
    name = name.replace("IoT", "Iot")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")


def _packet(topic: str, payload: bytes) -> int:
    return len(topic.encode()) + len(payload) + _PACKET_HEADER


def _matches(resource: str, pattern: str, *, mqtt: bool) -> bool:
    """Return whether a pattern in accessControl matches a resource, as both kinds of nucleus do it."""
    if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), resource):
        return True
    levels = "".join({"+": "[^/]*", "#": ".*"}.get(character, re.escape(character)) for character in pattern)
    return mqtt and re.fullmatch(levels, resource) is not None


def permits(configuration: Mapping[str, Any], operation: str, resource: str, *, kind: Kind, thing: str) -> bool:
    """Return whether the `accessControl` of a configuration permits an operation for a resource."""
    service = _SERVICES[operation]
    for policy in configuration.get("accessControl", {}).get(service, {}).values():
        for pattern in policy["resources"] if f"{_PREFIX}{operation}" in policy["operations"] else ():
            filled = pattern.replace("{iot:thingName}", thing) if kind.replaces_thing else pattern
            if _matches(resource, filled, mqtt=service.endswith(".mqttproxy")):
                return True
    return False


def access_control(**resources: Iterable[str]) -> dict[str, Any]:
    """Return an `accessControl` that permits operations for resources.

    Args:
        resources: permitted resources by operation, without its prefix.
    """
    control: dict[str, Any] = {}
    for number, (operation, permitted) in enumerate(resources.items()):
        control.setdefault(_SERVICES[operation], {})[f"io.beeagent.Agent:{number}"] = {
            "operations": [f"{_PREFIX}{operation}"],
            "resources": sorted(permitted),
        }
    return control


def as_from_yaml(value: Any) -> Any:  # noqa: ANN401 - any configuration
    """Return a configuration as a nucleus lite returns that of a YAML recipe: each plain value as text."""
    if isinstance(value, dict):
        return {key: as_from_yaml(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_from_yaml(entry) for entry in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None else str(value)


@contextmanager
def nucleus_at(folder: Path, kind: Kind = LITE) -> Iterator[Nucleus]:
    """Run a nucleus for the duration of the context."""
    nucleus = Nucleus(folder / "ipc.sock", kind)
    nucleus.start()
    try:
        yield nucleus
    finally:
        nucleus.end()
