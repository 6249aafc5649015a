"""Deployments to a running component: changes of the configuration, their validation, and component updates."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from beeagent.errors import BeeagentError
from beeagent.greengrass.ipc import IpcConnection, IpcError

_LOG: Final = logging.getLogger(__name__)

_SETTLE_S: Final = 0.5  # a deployment changes one key after the other
_READ_INTERVAL_S: Final = 60.0
_CHANGES: Final = "changes of the configuration"


class Deployments:
    """A thread that receives the nucleus' events about deployments, and responds to them.

    - Changed configuration: `on_configuration` is called when all keys of a deployment have changed. It is also called
      after each new connection, since earlier changes are not reported; and every minute, since a nucleus lite whose
      ggconfigd has restarted reports no more changes, without ending the subscription.
    - Validation of a configuration before its deployment: `validate` returns the problem. (Classic nucleus.)
    - Update of the component to another version: deferred while results are in flight, for at most 5 minutes; they stay
      in the outbox in any case. (Classic nucleus.)

    Args:
        ipc: the connection to the nucleus.
        on_configuration: reads and applies the configuration; retried later if it raises IpcError.
        validate: returns the problem of a configuration; None if it is valid.
        may_stop: returns True if the component may be stopped now.
        read_interval_s: seconds after which the configuration is read without a reported change.
        retry_after_s: seconds until a failed operation is retried, and until a deferred deployment is checked again.
        max_deferral_s: maximum number of seconds for which a deployment is deferred.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        ipc: IpcConnection,
        *,
        on_configuration: Callable[[], None],
        validate: Callable[[Mapping[str, Any]], str | None],
        may_stop: Callable[[], bool],
        read_interval_s: float = _READ_INTERVAL_S,
        retry_after_s: float = 10.0,
        max_deferral_s: float = 300.0,
    ) -> None:
        self._ipc = ipc
        self._on_configuration = on_configuration
        self._validate = validate
        self._may_stop = may_stop
        self._read_interval = read_interval_s
        self._retry_after = retry_after_s
        self._max_deferral = max_deferral_s
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stop_listening: Callable[[], None] = lambda: None
        self._read_at: float | None = None
        self._client: object = None
        self._subscribed: dict[str, bool] = {}  # success of each attempt on this connection
        self._deferred: dict[str, float] = {}  # time of the first deferral, by deployment
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deployments", daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._stop_listening = self._ipc.listen(lambda: self._inbox.put(self._handle_connection))
        self._inbox.put(self._handle_connection)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop listening, and wait up to `timeout` seconds for the thread."""
        self._stop_listening()
        self._stopping.set()
        self._inbox.put(lambda: None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            timeout = None if self._read_at is None else max(0.0, self._read_at - time.monotonic())
            try:
                self._inbox.get(timeout=timeout)()
            except queue.Empty:
                self._read()

    def _handle_connection(self) -> None:
        client = self._ipc.client
        if client is None or client is self._client:
            return
        self._client = client
        self._subscribed.clear()
        self._read_at = time.monotonic()

    def _subscribe(self) -> None:
        """Create missing subscriptions."""
        subscriptions: tuple[tuple[str, str, dict[str, Any]], ...] = (
            (_CHANGES, "configuration_update", {"key_path": [], "on_stream_event": self._on_change}),
            ("validation requests", "validate_configuration_updates", {"on_stream_event": self._on_validation_request}),
            ("component updates", "component_updates", {"on_stream_event": self._on_update}),
        )
        for subject, operation, arguments in subscriptions:
            if subject not in self._subscribed:
                self._subscribed[subject] = self._try_to_subscribe(subject, operation, arguments)
        if not self._subscribed[_CHANGES]:  # supported by every nucleus: retry
            del self._subscribed[_CHANGES]
            self._read_at = time.monotonic() + self._retry_after

    def _try_to_subscribe(self, subject: str, operation: str, arguments: dict[str, Any]) -> bool:
        arguments |= {
            "on_stream_error": lambda _: True,
            "on_stream_closed": partial(self._inbox.put, partial(self._handle_end, subject, self._client)),
        }
        try:
            self._ipc.call(lambda client: getattr(client, f"subscribe_to_{operation}_async")(**arguments)[0])
        except IpcError as error:
            # A nucleus lite supports only the first subscription; the others are optional.
            if subject == _CHANGES:
                _LOG.info("this nucleus does not report %s: %s", subject, error)
            else:
                _LOG.info("this nucleus does not report %s, which are optional", subject)
            return False
        return True

    # The following three run on the connection's thread, and only put events into the queue.

    def _on_change(self, _: object) -> None:
        self._inbox.put(self._schedule_read)

    def _on_validation_request(self, event: Any) -> None:  # noqa: ANN401 - untyped package
        if event.validate_configuration_update_event is not None:
            self._inbox.put(partial(self._respond_to_validation, event.validate_configuration_update_event))

    def _on_update(self, event: Any) -> None:  # noqa: ANN401 - untyped package
        if event.pre_update_event is not None:
            self._inbox.put(partial(self._respond_to_update, event.pre_update_event.deployment_id))

    # The following run on the thread of this class.

    def _handle_end(self, subject: str, client: object) -> None:
        """Schedule a new subscription if the nucleus has ended one but not the connection."""
        if client is self._client and self._subscribed.get(subject):
            del self._subscribed[subject]
            self._read_at = time.monotonic() + self._retry_after

    def _schedule_read(self) -> None:
        self._read_at = time.monotonic() + _SETTLE_S

    def _read(self) -> None:
        self._read_at = None
        if self._ipc.client is not self._client:
            return  # the next connection starts with a read
        self._read_at = time.monotonic() + self._read_interval
        self._subscribe()
        try:
            self._on_configuration()
        except IpcError as error:
            _LOG.warning("the configuration cannot be read: %s; retrying", error)
            self._read_at = time.monotonic() + self._retry_after

    def _respond_to_validation(self, request: Any) -> None:  # noqa: ANN401 - untyped package
        from awsiot.greengrasscoreipc import model  # noqa: PLC0415 - an extra

        problem = self._validate(request.configuration or {})
        report = model.ConfigurationValidityReport(
            deployment_id=request.deployment_id, status="ACCEPTED" if problem is None else "REJECTED", message=problem
        )
        self._respond("send_configuration_validity_report", configuration_validity_report=report)

    def _respond_to_update(self, deployment: str) -> None:
        now = time.monotonic()
        since = self._deferred.setdefault(deployment, now)
        if self._may_stop() or now - since >= self._max_deferral:
            del self._deferred[deployment]
            wait_s = 0.0  # continue
        else:
            _LOG.info("a deployment is deferred until the waiting results are delivered")
            wait_s = self._retry_after
        self._respond("defer_component_update", deployment_id=deployment, recheck_after_ms=round(wait_s * 1000))

    def _respond(self, operation: str, **arguments: object) -> None:
        try:
            self._ipc.call(lambda client: getattr(client, f"{operation}_async")(**arguments))
        except BeeagentError as error:
            _LOG.warning("a response to a deployment was not accepted: %s", error)
