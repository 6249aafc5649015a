"""The way out that leads nowhere, for an agent without a broker."""

from collections.abc import Callable

from beeagent.outbox.publisher import Outcome, PublisherState, Receipt


class DiscardPublisher:
    """Takes everything as delivered: what `--broker none` puts where a broker would be.

    So results are numbered by the outbox all the same, and do not gather there.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._started = False

    @property
    def payload_limit(self) -> int:
        """That of MQTT, so that what is shown is what would be sent."""
        return 128 * 1024

    @property
    def state(self) -> PublisherState:
        """Connected from `start` to `stop`."""
        return PublisherState(connected=True) if self._started else PublisherState(connected=False, reason="stopped")

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at `start` and `stop`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to take publishes."""
        self._set(started=True)

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:  # noqa: ARG002 - they go nowhere
        """Call it delivered."""
        done(Receipt(Outcome.DELIVERED) if self._started else Receipt(Outcome.LOST, "stopped"))

    def report(self, payload: bytes) -> None:
        """Do nothing: nobody watches."""

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:  # noqa: ARG002 - there is nobody to tell
        """Take no more."""
        self._set(started=False)

    def _set(self, *, started: bool) -> None:
        self._started = started
        for listener in self._listeners:
            listener()
