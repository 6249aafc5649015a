"""Greengrass IPC: the connection of a component to the nucleus, its address, errors and missing permissions.

It requires the extra `greengrass`, which installs `awsiotsdk`; this is imported when a connection is created.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError, requires_extra
from beeagent.output import shown
from beeagent.threads import Backoff

_LOG: Final = logging.getLogger(__name__)

SOCKET_VARIABLE: Final = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN_VARIABLE: Final = "SVCUID"  # noqa: S105 - the variable's name
THING_VARIABLE: Final = "AWS_IOT_THING_NAME"
"""Set by the nucleus, see https://docs.aws.amazon.com/greengrass/v2/developerguide/component-environment-variables.html"""

UNAUTHORIZED: Final = "UnauthorizedError"
NOT_FOUND: Final = "ResourceNotFoundError"
SERVICE_ERROR: Final = "ServiceError"
_NOT_CONNECTED: Final = "ConnectionClosedError"

_MESSAGES: Final = {
    UNAUTHORIZED: "the nucleus does not permit it: accessControl in the component's configuration does not name it",
    NOT_FOUND: "the nucleus has no such resource",
    SERVICE_ERROR: "the nucleus failed, or does not support the operation",
    "InvalidArgumentsError": "the nucleus rejects the arguments",
    _NOT_CONNECTED: "there is no connection to the nucleus",
    "StreamClosedError": "the connection to the nucleus ended",
    "AccessDeniedError": "the nucleus rejects the token of this process",
}

ACCESS_CONTROL: Final = "accessControl"
PUBLISH_TO_IOT_CORE: Final = "aws.greengrass#PublishToIoTCore"
SUBSCRIBE_TO_IOT_CORE: Final = "aws.greengrass#SubscribeToIoTCore"
PUBLISH_TO_TOPIC: Final = "aws.greengrass#PublishToTopic"
GET_SECRET_VALUE: Final = "aws.greengrass#GetSecretValue"  # noqa: S105 - an operation

_THING: Final = "{iot:thingName}"
_MAX_SHOWN: Final = 300  # characters

_RESPONSE_TIMEOUT_S: Final = 10.0
# Number of consecutive attempts that the nucleus closes or leaves unanswered before they count as a rejection of the
# token. A starting nucleus does this too.
_MAX_UNANSWERED: Final = 5


@dataclass(frozen=True, slots=True)
class IpcAddress:
    """The address of the nucleus.

    Attributes:
        socket: path of the nucleus' Unix socket.
        token: token of this process, valid until the nucleus' IPC daemon restarts.
    """

    socket: str
    token: str = field(repr=False)


def ipc_address(environment: Mapping[str, str]) -> IpcAddress:
    """Return the address of the nucleus that started this process.

    Raises:
        InputError: this process was not started by a nucleus.
    """
    for name in (SOCKET_VARIABLE, TOKEN_VARIABLE):
        if not environment.get(name):
            raise InputError(
                f"{name} is not set, so no Greengrass nucleus has started this process: --greengrass and "
                "greengrass:// brokers are for components only (deploy/greengrass/README.md)"
            )
    return IpcAddress(environment[SOCKET_VARIABLE], environment[TOKEN_VARIABLE])


class IpcError(BeeagentError):
    """An operation of the nucleus failed.

    Attributes:
        name: name of the nucleus' error, such as `UnauthorizedError`, or of another exception.
    """

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


def ipc_error(error: BaseException) -> IpcError:
    """Convert the exception of an IPC call; a nucleus lite usually sends only the name of an error."""
    if isinstance(error, IpcError):
        return error
    name = type(error).__name__
    if isinstance(error, FutureTimeoutError):
        return IpcError("the nucleus does not respond", name=name)
    # `str` of an error without a message is its name, or empty.
    details = getattr(error, "message", None) or ("" if name in _MESSAGES else str(error))
    message = _MESSAGES.get(name, f"the nucleus failed ({name})")
    return IpcError(f"{message} ({details})" if details else message, name=name)


class IpcConnection:
    """Maintains a connection to the nucleus, and reconnects until `close`.

    After a restart of its IPC daemon, the nucleus never accepts this process' token again: then `on_rejected` is
    called once, and only a new process can connect.

    Code on the connection's thread must not make a blocking call of the nucleus, since that thread delivers the
    response. So listeners and callbacks of subscriptions should only put events into a queue.
    """

    def __init__(
        self,
        address: IpcAddress,
        *,
        on_rejected: Callable[[str], None],
        backoff: Backoff | None = None,
        connect_timeout_s: float = 10.0,
    ) -> None:
        """Prepare the connection, which `start` establishes.

        Args:
            address: address of the nucleus.
            on_rejected: called with the reason why this process can never connect again.
            backoff: waits between attempts; None for the defaults.
            connect_timeout_s: time-out in seconds for the acceptance of the token.

        Raises:
            InputError: `awsiotsdk` is not installed.
        """
        with requires_extra("greengrass", feature="Greengrass IPC"):
            import awsiot.eventstreamrpc  # noqa: F401, PLC0415 - an extra
        self._connect_timeout = connect_timeout_s
        self._address = address
        self._on_rejected = on_rejected
        self._backoff = backoff or Backoff(first=0.2, longest=10.0)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._client: Any = None
        self._reason = "not yet connected to the nucleus"
        self._unanswered = 0
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="greengrass-ipc", daemon=True)

    @property
    def client(self) -> Any:  # noqa: ANN401 - `GreengrassCoreIPCClientV2` of an untyped package
        """The SDK's client; None without a connection."""
        with self._lock:
            return self._client

    @property
    def reason(self) -> str:
        """Reason for the missing connection; empty while connected."""
        with self._lock:
            return self._reason

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when a connection begins or ends; return a function that removes it."""
        with self._lock:
            self._listeners.append(listener)

        def remove() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return remove

    def start(self) -> None:
        """Start connecting."""
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a connection; return False if there is none."""
        return self._connected.wait(timeout)

    def call(self, operation: Callable[[Any], "Future[Any]"]) -> Any:  # noqa: ANN401 - the SDK's shapes
        """Call the nucleus and return its response; blocks.

        Args:
            operation: called with the SDK's client; calls one of its `..._async` methods and returns the future.

        Raises:
            IpcError: the operation failed, there is no connection, or no response arrived within 10 s.
        """
        client = self.client
        if client is None:
            raise IpcError(_MESSAGES[_NOT_CONNECTED], name=_NOT_CONNECTED)
        try:
            return operation(client).result(_RESPONSE_TIMEOUT_S)
        except Exception as error:
            raise ipc_error(error) from error

    def close(self, timeout: float = 2.0) -> None:
        """Close the connection. Idempotent, and allowed without `start`."""
        self._stopping.set()
        client = self.client
        if client is not None:
            client.close(executor_wait=False)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        from awscrt import io  # noqa: PLC0415 - an extra
        from awsiot.eventstreamrpc import Connection, MessageAmendment  # noqa: PLC0415 - an extra

        loop = io.EventLoopGroup(num_threads=1)
        bootstrap = io.ClientBootstrap(loop, io.DefaultHostResolver(loop))
        options = io.SocketOptions()
        options.domain = io.SocketDomain.Local
        while not self._stopping.is_set():
            connection = Connection(
                host_name=self._address.socket,
                port=0,
                bootstrap=bootstrap,
                socket_options=options,
                connect_message_amender=MessageAmendment.create_static_authtoken_amender(self._address.token),
            )
            if self._connect(connection):
                self._backoff.reset()
                self._unanswered = 0
            elif self._unanswered >= _MAX_UNANSWERED:
                self._reject()
            if not self._stopping.is_set():
                self._stopping.wait(self._backoff.next())

    def _connect(self, connection: Any) -> bool:  # noqa: ANN401 - untyped package
        """Connect and wait for the end of the connection; return False if the nucleus did not accept the token."""
        from awsiot.eventstreamrpc import AccessDeniedError, LifecycleHandler  # noqa: PLC0415 - an extra
        from awsiot.greengrasscoreipc.client import GreengrassCoreIPCClient  # noqa: PLC0415 - an extra
        from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2  # noqa: PLC0415 - an extra

        ended = threading.Event()
        handler = LifecycleHandler()
        handler.on_disconnect = lambda _reason: ended.set()
        handler.on_error = lambda _error: True
        try:
            connection.connect(handler).result(self._connect_timeout)
        except AccessDeniedError:
            self._reject()
            return False
        except Exception as error:  # noqa: BLE001 - the SDK raises various exceptions
            connection.close()  # in case it is only slow
            self._unanswered = self._unanswered + 1 if _is_unanswered(error) else 0
            self._set(None, f"no connection to the nucleus at {self._address.socket} ({_short_message(error)})")
            return False
        # Without an executor, whose threads would outlive the connection: the callbacks are fast.
        self._set(GreengrassCoreIPCClientV2(client=GreengrassCoreIPCClient(connection), executor=None), "")
        if self._stopping.is_set():
            connection.close()
        ended.wait()
        self._set(None, "the connection to the nucleus ended")
        return True

    def _reject(self) -> None:
        reason = (
            "the nucleus no longer accepts the token of this process (SVCUID), as its IPC daemon has restarted: only a "
            "new process can connect"
        )
        self._stopping.set()
        self._set(None, reason)
        self._on_rejected(reason)

    def _set(self, client: Any, reason: str) -> None:  # noqa: ANN401 - untyped package
        with self._lock:
            changed = (client, reason) != (self._client, self._reason)
            self._client, self._reason = client, reason
            listeners = list(self._listeners)
        if client is None:
            self._connected.clear()
        else:
            self._connected.set()
        if not changed:
            return
        if client is not None:
            _LOG.info("connected to the nucleus")
        elif not self._stopping.is_set():
            _LOG.warning("%s; reconnecting", reason)
        for listener in listeners:
            listener()


def _short_message(error: Exception) -> str:
    # Some messages begin with a number and a name.
    return str(getattr(error, "message", None) or error).rpartition(": ")[2].rstrip(".") or type(error).__name__


def _is_unanswered(error: Exception) -> bool:
    """Return True if the nucleus was reachable but did not accept the token."""
    return isinstance(error, FutureTimeoutError) or getattr(error, "name", None) in {
        "AWS_IO_SOCKET_CLOSED",
        "AWS_ERROR_EVENT_STREAM_RPC_CONNECTION_CLOSED",
    }


def missing_permission(ipc: IpcConnection, operation: str, resource: str) -> str:
    """Return the reason why the nucleus does not permit an operation, and the missing entry of `accessControl`.

    It calls the nucleus, so it must not be used on the connection's thread.

    Args:
        ipc: the connection to the nucleus.
        operation: operation, such as `aws.greengrass#PublishToIoTCore`.
        resource: resource of the operation, such as a topic.
    """
    begin = f"the nucleus does not permit it: {ACCESS_CONTROL} in the component's configuration"
    try:
        response = ipc.call(lambda client: client.get_configuration_async(key_path=[ACCESS_CONTROL]))
    except IpcError as error:
        if error.name != NOT_FOUND:
            return f"{begin} does not name it"
        resources = []
    else:
        resources = _resources(response.value, operation)
    if not resources:
        return f"{begin} has no {operation}: add it for {shown(resource, most=_MAX_SHOWN)}"
    variables = [entry for entry in resources if "{" in entry]
    permitted = f"{begin} has {operation} for {shown(', '.join(resources), most=_MAX_SHOWN)}"
    if not variables:
        return f"{permitted}, and not for {shown(resource, most=_MAX_SHOWN)}"
    wildcard = "*" if operation == PUBLISH_TO_TOPIC else "+"
    replaced = ", ".join(entry.replace(_THING, wildcard) for entry in variables)
    return f"{permitted}, and this nucleus does not replace recipe variables: write {shown(replaced, most=_MAX_SHOWN)}"


def _resources(value: Any, operation: str) -> list[str]:  # noqa: ANN401 - any configuration
    """Return the resources for which an operation is permitted; malformed policies are ignored."""
    control = value.get(ACCESS_CONTROL, value) if isinstance(value, Mapping) else {}
    return [
        str(resource)
        for service in _mappings(control)
        for policy in _mappings(service)
        if {operation, "*"} & set(map(str, _list(policy.get("operations"))))
        for resource in _list(policy.get("resources"))
    ]


def _mappings(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - any configuration
    return [entry for entry in value.values() if isinstance(entry, Mapping)] if isinstance(value, Mapping) else []


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - any configuration
    return value if isinstance(value, list) else []
