"""What deployments want of a component that runs: another configuration, and to stop for another version."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from awsiot.greengrasscoreipc import model

from beeagent.errors import BeeagentError
from beeagent.greengrass.errors import NucleusError

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection

_LOG: Final = logging.getLogger(__name__)

_SETTLED_AFTER_S: Final = 0.5  # a deployment changes one key after the other
_READ_EVERY_S: Final = 60.0
_CHANGES: Final = "changes of the configuration"


class Deployments:
    """A thread that hears from the nucleus what deployments do, and answers.

    - The configuration has changed: `on_configuration` is called, once all of a deployment's keys have come. Also after
      each new connection, since nobody tells what was changed in between; and now and then, since a nucleus lite whose
      ggconfigd was started again tells of no change any more, without ending the subscription.
    - A configuration is to be judged before it is deployed: `objection` says what is wrong with it. (Classic nucleus.)
    - The component is to be stopped for another version: that is put off while results are on their way out, for 5
      minutes at most; they are kept in any case. (Classic nucleus.)

    Args:
        nucleus: the connection.
        on_configuration: reads the configuration and does what it asks for; it is called again later where it raises
            NucleusError.
        objection: says what is wrong with a configuration, None if nothing is.
        may_stop: whether the component may be stopped now.
        read_every_s: seconds after which the configuration is read even if no change was reported.
        again_after_s: seconds until what failed is tried again, and until a deployment asks again.
        most_deferred_s: seconds for which a deployment is put off, at most.
    """

    def __init__(  # noqa: PLR0913 - whom it asks, what it calls, and its patience
        self,
        nucleus: "NucleusConnection",
        *,
        on_configuration: Callable[[], None],
        objection: Callable[[Mapping[str, Any]], str | None],
        may_stop: Callable[[], bool],
        read_every_s: float = _READ_EVERY_S,
        again_after_s: float = 10.0,
        most_deferred_s: float = 300.0,
    ) -> None:
        self._nucleus = nucleus
        self._on_configuration = on_configuration
        self._objection = objection
        self._may_stop = may_stop
        self._read_every = read_every_s
        self._again_after = again_after_s
        self._most_deferred = most_deferred_s
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._forget_nucleus: Callable[[], None] = lambda: None
        self._read_at: float | None = None
        self._client: object = None
        self._subscribed: dict[str, bool] = {}  # on this connection: what was tried, and whether it worked
        self._put_off: dict[str, float] = {}  # deployments that have asked, since when
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deployments", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._forget_nucleus = self._nucleus.listen(lambda: self._inbox.put(self._handle_link))
        self._inbox.put(self._handle_link)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Listen no more, and wait up to `timeout` seconds for what is under way."""
        self._forget_nucleus()
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

    def _handle_link(self) -> None:
        client = self._nucleus.client
        if client is None or client is self._client:
            return
        self._client = client
        self._subscribed.clear()
        self._read_at = time.monotonic()

    def _subscribe(self) -> None:
        """Subscribe to what is not subscribed to, or was found not to be there."""
        begins: dict[str, Callable[..., Any]] = {
            _CHANGES: lambda client, **told: client.subscribe_to_configuration_update_async(
                key_path=[], on_stream_event=self._note_configuration, **told
            ),
            "configurations to judge": lambda client, **told: client.subscribe_to_validate_configuration_updates_async(
                on_stream_event=self._note_question, **told
            ),
            "updates to come": lambda client, **told: client.subscribe_to_component_updates_async(
                on_stream_event=self._note_update, **told
            ),
        }
        for what, begin in begins.items():
            if what not in self._subscribed:
                self._subscribed[what] = self._try_to_subscribe(what, begin)
        if not self._subscribed[_CHANGES]:  # which every nucleus has, and so will tell of later
            del self._subscribed[_CHANGES]
            self._read_at = time.monotonic() + self._again_after

    def _try_to_subscribe(self, what: str, begin: Callable[..., Any]) -> bool:
        ended = partial(self._note_end, what, self._client)
        try:
            self._nucleus.ask(lambda client: begin(client, on_stream_error=lambda _: True, on_stream_closed=ended)[0])
        except NucleusError as error:
            # A nucleus lite has the first alone; so the others are done without.
            if what == _CHANGES:
                _LOG.info("this nucleus does not tell of %s: %s", what, error)
            else:
                _LOG.info("this nucleus does not tell of %s, and the agent does without", what)
            return False
        return True

    # These four come on the connection's own thread, and only pass on what they hear.

    def _note_configuration(self, _: object) -> None:
        self._inbox.put(self._put_off_reading)

    def _note_question(self, event: Any) -> None:  # noqa: ANN401 - of a package without types
        if event.validate_configuration_update_event is not None:
            self._inbox.put(partial(self._judge, event.validate_configuration_update_event))

    def _note_update(self, event: Any) -> None:  # noqa: ANN401 - of a package without types
        if event.pre_update_event is not None:
            self._inbox.put(partial(self._answer_update, event.pre_update_event.deployment_id))

    def _note_end(self, what: str, client: object) -> None:
        self._inbox.put(partial(self._handle_end, what, client))

    # And these are done by the thread of this class.

    def _handle_end(self, what: str, client: object) -> None:
        """Subscribe again, after a while, where the nucleus has ended a subscription and not the connection."""
        if client is self._client and self._subscribed.get(what):
            del self._subscribed[what]
            self._read_at = time.monotonic() + self._again_after

    def _put_off_reading(self) -> None:
        self._read_at = time.monotonic() + _SETTLED_AFTER_S

    def _read(self) -> None:
        self._read_at = None
        if self._nucleus.client is not self._client:
            return  # the next connection begins with this
        self._read_at = time.monotonic() + self._read_every
        self._subscribe()
        try:
            self._on_configuration()
        except NucleusError as error:
            _LOG.warning("the configuration is not to be had: %s; trying again", error)
            self._read_at = time.monotonic() + self._again_after

    def _judge(self, question: Any) -> None:  # noqa: ANN401 - of a package without types
        objection = self._objection(question.configuration or {})
        report = model.ConfigurationValidityReport(
            deployment_id=question.deployment_id,
            status="ACCEPTED" if objection is None else "REJECTED",
            message=objection,
        )
        self._tell(lambda client: client.send_configuration_validity_report_async(configuration_validity_report=report))

    def _answer_update(self, deployment: str) -> None:
        now = time.monotonic()
        since = self._put_off.setdefault(deployment, now)
        if self._may_stop() or now - since >= self._most_deferred:
            del self._put_off[deployment]
            wait_s = 0.0  # 0 says: go on
        else:
            _LOG.info("a deployment is put off until the waiting results are out")
            wait_s = self._again_after
        self._tell(
            lambda client: client.defer_component_update_async(
                deployment_id=deployment, recheck_after_ms=round(wait_s * 1000)
            )
        )

    def _tell(self, begin: Callable[[Any], "Future[Any]"]) -> None:
        try:
            self._nucleus.ask(begin)
        except BeeagentError as error:
            _LOG.warning("an answer to a deployment was not taken: %s", error)
