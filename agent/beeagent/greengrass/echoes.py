"""What the cloud gives back of what was published: the proof that it has arrived."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection


class Echoes:
    """Subscriptions to the topics that are published on. Used by one thread.

    The two callbacks come on the connection's own thread and must only pass on what they hear.
    """

    def __init__(
        self,
        nucleus: "NucleusConnection",
        *,
        on_echo: Callable[[str, bytes], None],
        on_end: Callable[[str, int], None],
    ) -> None:
        """Describe them; nothing is subscribed to yet.

        Args:
            nucleus: whom to ask.
            on_echo: told of each message that comes back: topic and payload.
            on_end: told of a topic whose subscription has ended, by whomever, and which of its subscriptions.
        """
        self._nucleus = nucleus
        self._on_echo = on_echo
        self._on_end = on_end
        self._streams: dict[str, tuple[int, Any]] = {}
        self._made = 0

    def __contains__(self, topic: str) -> bool:
        """Whether there is a subscription to a topic."""
        return topic in self._streams

    def subscribe(self, topic: str) -> None:
        """Subscribe to a topic, and wait until that is done.

        Raises:
            NucleusError: the nucleus did not do it.
        """
        self._made += 1
        number, streams = self._made, list[Any]()

        def begin(client: Any) -> "Future[Any]":  # noqa: ANN401 - of a package without types
            answer: Future[Any]
            answer, stream = client.subscribe_to_iot_core_async(
                topic_name=topic,
                qos="1",
                on_stream_event=partial(self._hear, topic),
                on_stream_error=lambda _: True,
                on_stream_closed=partial(self._on_end, topic, number),
            )
            streams.append(stream)
            return answer

        self._nucleus.ask(begin)
        self._streams[topic] = number, streams[0]

    def unsubscribe(self, topic: str) -> None:
        """End the subscription to a topic, if there is one."""
        _, stream = self._streams.pop(topic, (0, None))
        if stream is not None:
            stream.close()

    def note_end(self, topic: str, number: int) -> bool:
        """Take in what `on_end` was told; say whether it was the subscription that counts, and not one before it."""
        if topic not in self._streams or self._streams[topic][0] != number:
            return False
        del self._streams[topic]
        return True

    def clear(self) -> None:
        """Note that all subscriptions have ended with their connection."""
        self._streams.clear()

    def close(self) -> None:
        """End all subscriptions."""
        for topic in list(self._streams):
            self.unsubscribe(topic)

    def _hear(self, topic: str, event: Any) -> None:  # noqa: ANN401 - of a package without types
        if event.message is not None:
            self._on_echo(topic, event.message.payload or b"")
