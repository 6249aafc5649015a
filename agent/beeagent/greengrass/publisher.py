"""Publishing through a Greengrass nucleus."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from beeagent.backoff import Backoff
from beeagent.greengrass.destination import Destination, ToComponents, ToIotCore
from beeagent.greengrass.echoes import Echoes
from beeagent.greengrass.errors import SERVICE_ERROR, UNAUTHORIZED, NucleusError, nucleus_error
from beeagent.greengrass.in_flight import Publish, UnderWay
from beeagent.greengrass.missing_rights import SUBSCRIBE_TO_IOT_CORE, missing_right
from beeagent.greengrass.rights import ForbiddenTopics
from beeagent.mqtt import FORBIDDEN
from beeagent.outbox import Outcome, PublisherState, Receipt

if TYPE_CHECKING:
    from concurrent.futures import Future

    from beeagent.greengrass.ipc import NucleusConnection

_LOG: Final = logging.getLogger(__name__)

TOO_LARGE: Final = "too-large"
_MAX_UNECHOED: Final = 3
"""Times that a message is published of which none came back though later ones did."""
_MAX_REMEMBERED: Final = 64

_STOPPED: Final = PublisherState(connected=False, reason="stopped")

Confirmation = Literal["echo", "accepted"]


class GreengrassPublisher:
    """Publishes through the nucleus of the component that this process is.

    To AWS IoT Core, the nucleus' success means little: a classic one has then put the message into a spool in memory,
    and none says what the broker in the cloud answered. So a result counts as delivered when it has come back on a
    subscription to its own topic. A nucleus that is offline fails at once or stays silent, and tells nobody when it is
    online again: after each failure the publisher pauses, longer each time, and then tries again.

    A nucleus lite also fails when too many publishes are not acknowledged yet. So only so many are sent at a time, and
    a failure while others are on their way is taken for "full" first: the message is sent again when one has come back.

    On the device, to other components, success is all there is to know.

    One thread does everything; what the nucleus says comes to it through a queue, since on the thread on which the
    nucleus says it nothing may be asked.
    """

    def __init__(  # noqa: PLR0913 - what distinguishes a publisher
        self,
        *,
        nucleus: "NucleusConnection",
        destination: Literal["iot-core", "local"],
        status_topic: str,
        confirmation: Confirmation = "echo",
        answer_within_s: float = 10.0,
        echo_within_s: float = 30.0,
        patience_s: float = 60.0,
        settles_in_s: float = 0.15,
        backoff: Callable[[], Backoff] | None = None,
    ) -> None:
        """Describe the way; nothing happens before `start`.

        Args:
            nucleus: the connection, which others may use too.
            destination: where the nucleus is to publish.
            status_topic: where `report` and `stop` publish.
            confirmation: what makes a result delivered that goes to AWS IoT Core: its echo, or the nucleus' success.
            answer_within_s: seconds for which the nucleus may be silent.
            echo_within_s: seconds until a result that the nucleus took should have come back.
            patience_s: seconds for which a topic that is not permitted is tried again though others get through.
            settles_in_s: seconds after which a message that the nucleus took counts as acknowledged by the broker,
                where it does not come back.
            backoff: makes the pauses after failures; None for the usual ones.

        Raises:
            ValueError: a time is not positive.
        """
        if min(answer_within_s, echo_within_s) <= 0 or patience_s < 0:
            raise ValueError(f"times {answer_within_s}, {echo_within_s} or {patience_s} are out of range")
        self._nucleus = nucleus
        self._destination: Destination = ToComponents() if destination == "local" else ToIotCore()
        self._echoing = confirmation == "echo" and destination == "iot-core"
        self._status_topic = status_topic
        self._answer_within = answer_within_s
        self._echo_within = echo_within_s
        # To ask a nucleus that refuses costs nothing; what goes into the spool of one that is offline goes out later.
        self._after_refusal = (backoff or partial(Backoff, first=1.0, longest=10.0))()
        self._after_silence = (backoff or partial(Backoff, first=1.0, longest=60.0))()
        self._while_full = Backoff(first=0.1, longest=1.0)
        self._forbidden = ForbiddenTopics(
            backoff=backoff or partial(Backoff, first=1.0, longest=60.0), patience_s=patience_s
        )
        self._echoes = Echoes(
            nucleus,
            on_echo=lambda topic, payload: self._inbox.put(partial(self._handle_echo, topic, payload)),
            on_end=lambda topic, number: self._inbox.put(partial(self._handle_closed, topic, number)),
        )
        self._listeners: list[Callable[[], None]] = []
        self._forget_nucleus: Callable[[], None] = lambda: None
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="greengrass", daemon=True)
        self._lock = threading.Lock()
        self._accepting = True
        self._state = PublisherState(connected=False, reason="not yet connected", untried=True)
        # All below is the thread's own.
        self._client: Any = None
        self._under_way = UnderWay(
            self._destination.limits, settles_in_s=0.0 if destination == "local" else settles_in_s
        )
        self._echoed: dict[str, int] = {}  # by topic: `sent` of the newest message that has come back
        self._unechoed: dict[int, int] = {}  # how often a message did not come back that others have overtaken
        self._full_since: float | None = None
        self._full_until: float | None = None
        self._paused_until: float | None = None
        self._pause_reason = ""
        self._warned = ""
        self._report: bytes | None = None
        self._unreported = False
        self._report_trouble = ""
        self._stopping: float | None = None  # when to be over, once told to

    @property
    def payload_limit(self) -> int:
        """Bytes that a message may have."""
        return self._destination.limits.payload_bytes

    @property
    def state(self) -> PublisherState:
        """Whether a publish is worth trying now."""
        with self._lock:
            return self._state

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` has changed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to publish, as soon as there is a connection to the nucleus."""
        self._forget_nucleus = self._nucleus.listen(lambda: self._inbox.put(self._handle_link))
        self._inbox.put(self._handle_link)
        self._thread.start()

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish at QoS 1; `done` tells once the result is known to have arrived, or not known to."""
        most = self._destination.limits.publish_bytes  # older messages may be longer than those of now
        if len(payload) > most:
            words = f"a message of {len(payload)} bytes is more than the {most} that a nucleus takes"
            done(Receipt(Outcome.REFUSED, words, cause=TOO_LARGE))
            return
        with self._lock:
            accepting = self._accepting and self._thread.ident is not None
            if accepting:
                self._inbox.put(partial(self._begin, Publish(topic, payload, done)))
        if not accepting:
            done(Receipt(Outcome.LOST, self.state.reason))

    def report(self, payload: bytes) -> None:
        """Make `payload` the status of the device, now and after each new connection; retained in the cloud."""
        self._inbox.put(partial(self._take_report, payload))

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Wait for what is under way, publish `farewell` as the status, and let go of the nucleus."""
        self._forget_nucleus()
        by = time.monotonic() + timeout
        self._inbox.put(partial(self._begin_stop, farewell, by))
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._set_state(_STOPPED)

    # From here on, all is done by the one thread.

    def _run(self) -> None:
        while not self._is_over():
            moments = (self._under_way.due, self._full_until, self._paused_until, self._stopping)
            due = [moment for moment in moments if moment is not None]
            try:
                work = self._inbox.get(timeout=max(0.0, min(due) - time.monotonic()) if due else None)
            except queue.Empty:
                self._handle_time()
            else:
                work()
            self._send_waiting()
        with self._lock:
            self._accepting = False
        while not self._inbox.empty():  # what came too late
            self._inbox.get()()
        self._under_way.end_all(Receipt(Outcome.LOST, "stopped"))
        self._echoes.close()

    def _is_over(self) -> bool:
        if self._stopping is None:
            return False
        return not self._under_way or time.monotonic() >= self._stopping

    def _begin_stop(self, farewell: bytes | None, by: float) -> None:
        if self._stopping is not None:
            return
        self._stopping = by - 0.1
        self._under_way.end_waiting(Receipt(Outcome.LOST, "stopped"))
        if farewell is not None and self.state.connected:
            self._send(Publish(self._status_topic, farewell, lambda _: None, retain=True))

    def _handle_link(self) -> None:
        """Take in that the connection to the nucleus has come about or ended, or another one is there."""
        client = self._nucleus.client
        if client is self._client and not self.state.untried:
            return
        self._client = client
        self._echoes.clear()
        self._paused_until = None
        self._note_not_full()
        self._unreported = self._report is not None
        self._note_state()
        self._under_way.end_all(Receipt(Outcome.LOST, "the connection to the nucleus ended"))

    def _handle_time(self) -> None:
        if self._paused_until is not None and time.monotonic() >= self._paused_until:
            self._paused_until = None
            self._probe()
        for publish in self._under_way.late():
            if publish not in self._under_way:
                continue  # it has ended with another
            if publish.answered:
                self._handle_missing_echo(publish)
            else:
                words = "the nucleus does not answer"
                self._pause(words, self._after_refusal)
                self._under_way.end(publish, Receipt(Outcome.LOST, words))

    def _handle_missing_echo(self, publish: Publish) -> None:
        """Handle a message that the nucleus took and that has not come back in time."""
        words = f"no message has come back from AWS IoT Core for {self._echo_within:g} s"
        if self._echoed.get(publish.topic, 0) > publish.sent:
            # Later ones have come back: the subscription is alive, and it is this message that does not get through.
            key = hash((publish.topic, publish.payload))
            times = self._unechoed.pop(key, 0) + 1
            if times >= _MAX_UNECHOED:
                _LOG.warning(
                    "a message on %s was published %d times and never came back, though later ones did: it counts as "
                    "delivered",
                    publish.topic,
                    times,
                )
                self._under_way.end(publish, Receipt(Outcome.DELIVERED))
                return
            self._unechoed[key] = times
            if len(self._unechoed) > _MAX_REMEMBERED:
                del self._unechoed[next(iter(self._unechoed))]
            self._under_way.end(publish, Receipt(Outcome.LOST, words))
            return
        # The subscription may have been lost without a word. All that was sent on it ends with it, so that none is
        # published more often than once more.
        words += ": is the nucleus offline, or does the device's IoT policy lack iot:Receive for the topic?"
        self._echoes.unsubscribe(publish.topic)
        self._pause(words, self._after_silence)
        self._end_topic(publish.topic, words)

    def _end_topic(self, topic: str, words: str) -> None:
        for publish in self._under_way.of_topic(topic):
            self._under_way.end(publish, Receipt(Outcome.LOST, words))

    def _probe(self) -> None:
        """Find out, after a pause, whether the nucleus publishes again: with the status, of which nothing is lost."""
        if self._report is None:
            self._note_state()
            return

        def handle_end(receipt: Receipt) -> None:
            self._note_report(receipt)
            if receipt.outcome is Outcome.DELIVERED:
                self._after_refusal.reset()
            if receipt.outcome is Outcome.DELIVERED or self._forbidden.why_not(self._status_topic):
                self._note_state()  # what keeps back the status alone is no obstacle to the results

        self._unreported = False
        self._send(Publish(self._status_topic, self._report, handle_end, retain=True))

    def _begin(self, publish: Publish) -> None:
        if self._stopping is not None or not self.state.connected:
            publish.done(Receipt(Outcome.LOST, self.state.reason or "stopped"))
            return
        if words := self._forbidden.why_not(publish.topic):
            publish.done(self._not_permitted(publish.topic, words))
            return
        self._under_way.wait(publish)

    def _send_waiting(self) -> None:
        """Send what waits, as far as there is room."""
        if self._full_until is not None and time.monotonic() >= self._full_until:
            self._full_until = None
        while self._full_until is None and (publish := self._under_way.next()) is not None:
            if self._expects_echo(publish) and publish.topic not in self._echoes:
                try:
                    self._echoes.subscribe(publish.topic)
                except NucleusError as error:
                    publish.done(self._failed(publish.topic, error, SUBSCRIBE_TO_IOT_CORE))
                    continue
            self._send(publish)

    def _send(self, publish: Publish) -> None:
        self._under_way.add(publish, within_s=self._answer_within)
        try:
            future = self._destination.publish(self._client, publish.topic, publish.payload, retain=publish.retain)
        except Exception as error:  # noqa: BLE001 - the package raises what it likes where the connection has ended
            self._under_way.end(publish, self._failed(publish.topic, nucleus_error(error)))
            return
        future.add_done_callback(lambda future: self._inbox.put(partial(self._handle_answer, publish, future)))

    def _handle_answer(self, publish: Publish, future: "Future[Any]") -> None:
        if publish not in self._under_way:
            return  # it has come back already, or was lost
        error = future.exception()
        if error is not None:
            self._handle_refusal(publish, nucleus_error(error))
        elif self._expects_echo(publish):
            publish.answered = True
            publish.due = time.monotonic() + self._echo_within
        else:
            if publish.topic != self._status_topic:
                self._note_taken(publish.topic)
            self._under_way.settle(publish, Receipt(Outcome.DELIVERED))

    def _expects_echo(self, publish: Publish) -> bool:
        """Return whether a message has to come back; one that is too long for that is delivered when it is taken."""
        if not self._echoing or publish.topic == self._status_topic:
            return False
        return self._destination.limits.echoes(publish.topic, publish.payload)

    def _handle_refusal(self, publish: Publish, error: NucleusError) -> None:
        if not self._is_full(error):
            self._under_way.end(publish, self._failed(publish.topic, error))
            return
        now = time.monotonic()
        self._full_since = self._full_since or now
        if self._full_until is None:  # many may be refused at once
            self._full_until = now + self._while_full.next()
        self._under_way.take_back(publish)

    def _is_full(self, error: NucleusError) -> bool:
        """Return whether a refusal may mean that too much is on its way, and not that the nucleus is offline."""
        if error.name != SERVICE_ERROR or self._paused_until is not None or not self._under_way.any_taken:
            return False
        return self._full_since is None or time.monotonic() - self._full_since < self._answer_within

    def _note_not_full(self) -> None:
        self._full_since = self._full_until = None
        self._while_full.reset()

    def _handle_echo(self, topic: str, payload: bytes) -> None:
        for publish in self._under_way.of_topic(topic):
            if publish.payload == payload:
                self._note_taken(topic)
                self._after_silence.reset()
                self._echoed[topic] = max(publish.sent, self._echoed.get(topic, 0))
                self._under_way.end(publish, Receipt(Outcome.DELIVERED))
                # Messages come back in order, so those before it are most likely lost and only take room.
                soon = time.monotonic() + self._echo_within / 6
                for other in self._under_way.answered():
                    if other.topic == topic and other.sent < publish.sent:
                        other.due = min(other.due, soon)
                return

    def _handle_closed(self, topic: str, number: int) -> None:
        if self._echoes.note_end(topic, number):
            self._end_topic(topic, f"the nucleus ended the subscription to {topic}")

    def _note_taken(self, topic: str) -> None:
        """Take in that a result got through."""
        self._forbidden.note_taken(topic)
        self._after_refusal.reset()
        self._note_not_full()
        self._warned = ""

    def _failed(self, topic: str, error: NucleusError, operation: str | None = None) -> Receipt:
        """Say what becomes of a message that the nucleus did not take, or whose topic it does not subscribe to."""
        doing = "publishing on" if operation is None else "subscribing to"
        if error.name == UNAUTHORIZED:
            missing = missing_right(self._nucleus, operation or self._destination.operation, topic)
            words = f"{doing} {topic}: {missing}"
            self._forbidden.note_refused(topic, words)
            return self._not_permitted(topic, words)
        reason = "the nucleus did not take it: is it offline or too busy?" if error.name == SERVICE_ERROR else error
        words = f"{doing} {topic}: {reason}"
        self._pause(words, self._after_refusal)
        if error.name == SERVICE_ERROR:
            # Sessions are clean: what was on its way when the nucleus went offline does not come back.
            for publish in self._under_way.answered():
                self._under_way.end(publish, Receipt(Outcome.LOST, words))
        return Receipt(Outcome.LOST, words)

    def _not_permitted(self, topic: str, words: str) -> Receipt:
        if self._forbidden.is_given_up(topic):
            return Receipt(Outcome.REFUSED, words, cause=FORBIDDEN)
        return Receipt(Outcome.LOST, words)

    def _pause(self, words: str, backoff: Backoff) -> None:
        if self._paused_until is None and self._client is not None:
            self._paused_until = time.monotonic() + backoff.next()
            self._pause_reason = words
            self._note_not_full()
            self._note_state()
            self._under_way.end_waiting(Receipt(Outcome.LOST, words))

    def _take_report(self, payload: bytes) -> None:
        if self._stopping is None:
            self._report, self._unreported = payload, True
            self._send_report()

    def _send_report(self) -> None:
        if self._report is None or not self._unreported or not self.state.connected:
            return
        self._unreported = False
        self._send(Publish(self._status_topic, self._report, self._note_report, retain=True))

    def _note_report(self, receipt: Receipt) -> None:
        trouble = "" if receipt.outcome is Outcome.DELIVERED else receipt.reason
        if trouble and trouble != self._report_trouble:
            _LOG.warning("the status is not published: %s", trouble)
        self._report_trouble = trouble

    def _note_state(self) -> None:
        if self._client is None:
            self._set_state(PublisherState(connected=False, reason=self._nucleus.reason))
        elif self._paused_until is not None:
            self._set_state(PublisherState(connected=False, reason=self._pause_reason))
        else:
            self._set_state(PublisherState(connected=True))
            self._send_report()

    def _set_state(self, state: PublisherState) -> None:
        with self._lock:
            if self._state in (state, _STOPPED):
                return
            self._state = state
        if not state.connected and state != _STOPPED and state.reason != self._warned:
            self._warned = state.reason
            _LOG.warning("nothing can be published through the nucleus: %s; trying again", state.reason)
        for listener in self._listeners:
            listener()
