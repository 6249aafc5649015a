"""A nucleus to talk to: Greengrass' real wire format on a real Unix socket, with what was seen of real ones.

It knows the operations the agent uses, and answers with the names and shapes that `awsiotsdk` publishes for them. What
may go wrong on a device can be made to go wrong here: rights missing, the cloud out of reach, a spool that loses what
it took, slowness, closed connections, tokens that no longer count, operations that a nucleus lite does not have.
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

DEADLINE: Final = 60.0
# Seen on a nucleus lite 2.6: payloads of 7,000 bytes pass, those of 7,100 do not, and from about 10,000 on it hangs up.
MOST_BYTES: Final = 7_000
HANGS_UP_FROM: Final = 10_000
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
    """What distinguishes one nucleus from another.

    Attributes:
        payload_bytes: of a publish; more is a `ServiceError`.
        hangs_up_from: bytes of a publish that close the connection; None where none do.
        packet_bytes: of an MQTT packet that the broker sends to the device (the Maximum Packet Size of MQTT 5): it
            drops what is longer in silence.
        unacknowledged: publishes without PUBACK at any time; one more is a `ServiceError`.
        unacknowledged_bytes: of those, all together.
        missing: operations that it does not have.
        fills_in_thing: whether `{iot:thingName}` in accessControl is replaced; otherwise it is compared literally.
        spools: whether publishing succeeds while the cloud is out of reach.
        retains: whether `retain` reaches the broker.
    """

    payload_bytes: int
    hangs_up_from: int | None
    packet_bytes: int
    unacknowledged: int
    unacknowledged_bytes: int
    missing: frozenset[str]
    fills_in_thing: bool
    spools: bool
    retains: bool


LITE: Final = Kind(MOST_BYTES, HANGS_UP_FROM, 5_000, 10, 15_000, NOT_ON_LITE, False, False, False)  # noqa: FBT003
"""As seen of nucleus lite 2.6.0."""
LITE_MAIN: Final = replace(LITE, fills_in_thing=True)
CLASSIC: Final = Kind(128 * 1024, None, 128 * 1024, 100, 2_500_000, frozenset(), False, True, True)  # noqa: FBT003
"""With its default settings; with `interpolateComponentConfiguration: true` it fills in the thing's name."""
CLASSIC_FILLING_IN: Final = replace(CLASSIC, fills_in_thing=True)

_PACKET_HEADER: Final = 10  # bytes of a PUBLISH packet beside topic and payload
_PREFIX: Final = "aws.greengrass#"
_SERVICES: Final = {
    "PublishToIoTCore": "aws.greengrass.ipc.mqttproxy",
    "SubscribeToIoTCore": "aws.greengrass.ipc.mqttproxy",
    "PublishToTopic": "aws.greengrass.ipc.pubsub",
    "GetSecretValue": "aws.greengrass.SecretManager",
}
Answer = Callable[["_Stream", dict[str, Any]], Coroutine[Any, Any, None]]


class IpcError(Exception):
    """Answers a request with an error of that name; with a message only where the real one gives one."""


class _Stream:
    """One request and where its answers go."""

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
        """Close this stream and leave the connection as it is."""
        if self.open:
            self.open = False
            self._writer.write(Message(APPLICATION_MESSAGE, self._number, TERMINATE).encoded())

    def _send(self, kind: int, shape: str, content: Mapping[str, Any], flags: int) -> None:
        headers = {":content-type": "application/json", "service-model-type": f"{_PREFIX}{shape}"}
        self._writer.write(Message(kind, self._number, flags, headers, json.dumps(content).encode()).encoded())


class Nucleus:
    """The nucleus of one device. What is set may be changed at any time, from any thread.

    Attributes:
        kind: which nucleus it is like.
        thing: name of the device's IoT thing.
        token: the SVCUID that counts.
        configuration: of the component; its `accessControl` is what is permitted.
        missing: operations that this nucleus does not have, beside those that its kind lacks.
        online: whether the cloud can be reached.
        round_trip_s: seconds until the cloud's PUBACK, and until a message is back on a subscription.
        echoes: whether the cloud gives a message to those who subscribed to its topic.
        swallows: whether it does not though, by the payload.
        echoed: how many messages it gave so.
        delay: seconds before each answer.
        deaf: whether requests get no answer at all.
        secrets: by their names.
        cloud: topics and payloads that have reached AWS IoT Core, in order.
        local: those that were published on the device.
        retained: the last payload that the broker retains, by topic.
        spool: what waits for the cloud.
        deferrals: of component updates: deployment, and milliseconds.
        reports: of configurations: deployment, status and message.
        connections: how often somebody was let in.
        refused: how often not.
        asked: the operations that were asked for, in order.
        failures: how many requests were answered by an error.
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
        self.swallows: Callable[[bytes], bool] = lambda _: False
        self.echoed = 0
        self.delay = 0.0
        self.deaf = False
        self.secrets: dict[str, str] = {}
        self.cloud: list[tuple[str, bytes]] = []
        self.local: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.spool: list[tuple[str, bytes]] = []
        self.deferrals: list[tuple[str, int]] = []
        self.reports: list[tuple[str, str, str]] = []
        self.connections = 0
        self.refused = 0
        self.asked: list[str] = []
        self.failures = 0
        self._unacknowledged: list[int] = []  # sizes
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.AbstractServer | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribed: dict[str, list[tuple[str, _Stream]]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="nucleus", daemon=True)

    # What a test does with it.

    def start(self) -> None:
        """Listen; may be called again after `stop`, as a daemon is started again."""
        if not self._thread.is_alive():
            self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        """Hang up and listen no more; the socket is gone."""
        self._do(self._close())

    def end(self) -> None:
        """Be gone for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    def hang_up(self) -> None:
        """End each connection."""
        self._do(self._hang_up())

    def close_streams(self, operation: str) -> None:
        """End each subscription of an operation, and no connection."""
        self._do(self._close_streams(operation))

    def restart_iotcored(self) -> None:
        """Forget what was subscribed to in the cloud; the streams stay open and nothing comes any more."""
        self._do(self._forget_all("SubscribeToIoTCore"))

    def restart_ggconfigd(self) -> None:
        """Forget who wants to hear of changes of the configuration; the streams stay open."""
        self._do(self._forget_all("SubscribeToConfigurationUpdate"))

    def permit(self, **resources: Iterable[str]) -> None:
        """Make `accessControl` permit operations for resources, and nothing else."""
        self.configuration = {**self.configuration, "accessControl": access_control(**resources)}

    def last(self, topic: str) -> bytes | None:
        """Return the last payload that reached the cloud on a topic; None if none has."""
        return next((payload for to, payload in reversed(self.cloud) if to == topic), None)

    def configure(self, **changed: Any) -> None:  # noqa: ANN401 - whatever a deployment may merge
        """Merge into the configuration, and tell who has subscribed."""
        self.configuration = {**self.configuration, **changed}
        for key in changed:
            event = {"configurationUpdateEvent": {"componentName": "io.beeagent.Agent", "keyPath": [key]}}
            self.tell("SubscribeToConfigurationUpdate", "ConfigurationUpdateEvents", event)

    def ask_before_update(self, deployment: str) -> None:
        """Tell that a deployment is about to stop the component."""
        event = {"preUpdateEvent": {"deploymentId": deployment, "isGgcRestarting": False}}
        self.tell("SubscribeToComponentUpdates", "ComponentUpdatePolicyEvents", event)

    def ask_whether_valid(self, deployment: str, configuration: dict[str, Any]) -> None:
        """Ask whether the component can work with a configuration."""
        event = {"validateConfigurationUpdateEvent": {"deploymentId": deployment, "configuration": configuration}}
        self.tell("SubscribeToValidateConfigurationUpdates", "ValidateConfigurationUpdateEvents", event)

    def tell(self, operation: str, shape: str, event: dict[str, Any], *, key: str | None = None) -> None:
        """Send an event to all who have subscribed, or to those of one topic."""
        self._do(self._tell(operation, shape, event, key))

    def subscribers(self, operation: str) -> int:
        """Give how many subscriptions of an operation there are."""
        return len(self._subscribed.get(operation, []))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true of this nucleus."""
        with self._changed:
            assert self._changed.wait_for(holds, timeout=DEADLINE), (self.asked[-20:], self.cloud[-3:], self.local[-3:])

    def reach_the_cloud(self) -> None:
        """Be online from now on, and send what waits in the spool."""
        self.online = True
        waiting, self.spool = self.spool, []
        for topic, payload in waiting:
            self._do(self._take(topic, payload))

    # How it works.

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
        await self._hang_up()

    async def _hang_up(self) -> None:
        self._subscribed.clear()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _close_streams(self, operation: str) -> None:
        for _, stream in self._subscribed.pop(operation, []):
            stream.end()

    async def _forget_all(self, operation: str) -> None:
        self._subscribed[operation] = []

    def _forget(self, writer: asyncio.StreamWriter, number: int) -> None:
        for operation, kept in self._subscribed.items():
            for _, stream in kept:
                if stream.belongs_to(writer, number):
                    stream.end()
            self._subscribed[operation] = [(key, stream) for key, stream in kept if stream.open]

    async def _tell(self, operation: str, shape: str, event: dict[str, Any], key: str | None) -> None:
        for wanted, stream in self._subscribed.get(operation, []):
            if key is None or wanted == key:
                stream.answer(shape, event, last=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._let_in(await read_message(reader), writer):
                while True:
                    request = await read_message(reader)
                    if request.flags & TERMINATE:  # the client is done with a subscription
                        self._forget(writer, request.stream)
                        continue
                    task = asyncio.ensure_future(self._handle(request, writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        self._writers.discard(writer)
        writer.close()

    async def _let_in(self, first: Message, writer: asyncio.StreamWriter) -> bool:
        assert (first.kind, first.stream) == (CONNECT, 0)
        assert first.headers[":version"] == "0.1.0"
        known = json.loads(first.payload)["authToken"] == self.token
        self.connections += known
        self.refused += not known
        writer.write(Message(CONNECT_ACK, 0, ACCEPTED if known else 0).encoded())
        await writer.drain()
        self._note()
        return known

    async def _handle(self, request: Message, writer: asyncio.StreamWriter) -> None:
        operation = request.headers["operation"].removeprefix(_PREFIX)
        assert request.headers["service-model-type"] == f"{_PREFIX}{operation}Request"
        stream = _Stream(writer, request.stream, operation)
        self.asked.append(operation)
        await asyncio.sleep(self.delay)
        if self.deaf:
            return
        try:
            missing = operation in self.missing | self.kind.missing
            answer: Answer = self._refuse if missing else getattr(self, f"_{_snake(operation)}")
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
        if self.kind.hangs_up_from is not None and len(payload) >= self.kind.hangs_up_from:
            raise ConnectionAbortedError
        if len(payload) > self.kind.payload_bytes:
            raise IpcError("ServiceError")
        return payload

    def _subscribe(self, stream: _Stream, key: str = "") -> None:
        self._subscribed.setdefault(stream.operation, []).append((key, stream))
        stream.answer(f"{stream.operation}Response", {}, last=False)

    async def _take(self, topic: str, payload: bytes) -> None:
        self.cloud.append((topic, payload))
        if self.echoes and not self.swallows(payload) and _packet(topic, payload) <= self.kind.packet_bytes:
            event = {"message": {"topicName": topic, "payload": base64.b64encode(payload).decode()}}
            self.echoed += any(key == topic for key, _ in self._subscribed.get("SubscribeToIoTCore", []))
            await self._tell("SubscribeToIoTCore", "IoTCoreMessage", event, topic)

    @staticmethod
    async def _refuse(_stream: _Stream, _request: dict[str, Any]) -> None:
        raise IpcError("ServiceError")

    # The operations, each as `_` and its name.

    async def _publish_to_iot_core(self, stream: _Stream, request: dict[str, Any]) -> None:
        topic = request["topicName"]
        self._check_right("PublishToIoTCore", topic)
        payload = self._sized(request, "payload")
        assert request["qos"] == "1"
        if not (self.online or self.kind.spools):
            raise IpcError("ServiceError")
        size = _packet(topic, payload)
        if self.online:
            many = len(self._unacknowledged) >= self.kind.unacknowledged
            if many or sum(self._unacknowledged) + size > self.kind.unacknowledged_bytes:
                raise IpcError("ServiceError")  # MQTTNoMemory
        if request.get("retain") and self.kind.retains:
            self.retained[topic] = payload
        # A real one sends on what it has taken; that it has, may be known here before or after.
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
    """Whether a resource in accessControl stands for one that is asked for; both kinds of nucleus match like this."""
    if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), resource):
        return True
    levels = "".join({"+": "[^/]*", "#": ".*"}.get(character, re.escape(character)) for character in pattern)
    return mqtt and re.fullmatch(levels, resource) is not None


def permits(configuration: Mapping[str, Any], operation: str, resource: str, *, kind: Kind, thing: str) -> bool:
    """Return whether the `accessControl` of a configuration permits an operation for a resource."""
    service = _SERVICES[operation]
    for policy in configuration.get("accessControl", {}).get(service, {}).values():
        for pattern in policy["resources"] if f"{_PREFIX}{operation}" in policy["operations"] else ():
            filled = pattern.replace("{iot:thingName}", thing) if kind.fills_in_thing else pattern
            if _matches(resource, filled, mqtt=service.endswith(".mqttproxy")):
                return True
    return False


def access_control(**resources: Iterable[str]) -> dict[str, Any]:
    """Return an `accessControl` that permits operations for resources.

    Args:
        resources: by the operation's name, without its prefix.
    """
    control: dict[str, Any] = {}
    for number, (operation, permitted) in enumerate(resources.items()):
        control.setdefault(_SERVICES[operation], {})[f"io.beeagent.Agent:{number}"] = {
            "operations": [f"{_PREFIX}{operation}"],
            "resources": sorted(permitted),
        }
    return control


def as_from_yaml(value: Any) -> Any:  # noqa: ANN401 - any configuration
    """Give a configuration as a nucleus lite gives that of a YAML recipe: each plain value as text."""
    if isinstance(value, dict):
        return {key: as_from_yaml(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_from_yaml(entry) for entry in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None else str(value)


@contextmanager
def nucleus_at(folder: Path, kind: Kind = LITE) -> Iterator[Nucleus]:
    """Give a running nucleus for as long as the context lasts."""
    nucleus = Nucleus(folder / "ipc.sock", kind)
    nucleus.start()
    try:
        yield nucleus
    finally:
        nucleus.end()
