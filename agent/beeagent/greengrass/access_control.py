"""`accessControl` in the component's configuration: what it lacks, and topics that the nucleus does not permit."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from beeagent.backoff import Backoff
from beeagent.greengrass.ipc import NOT_FOUND, IpcConnection, IpcError
from beeagent.output import shown

ACCESS_CONTROL: Final = "accessControl"
PUBLISH_TO_IOT_CORE: Final = "aws.greengrass#PublishToIoTCore"
SUBSCRIBE_TO_IOT_CORE: Final = "aws.greengrass#SubscribeToIoTCore"
PUBLISH_TO_TOPIC: Final = "aws.greengrass#PublishToTopic"
GET_SECRET_VALUE: Final = "aws.greengrass#GetSecretValue"  # noqa: S105 - an operation

_THING: Final = "{iot:thingName}"
_MAX_SHOWN: Final = 300  # characters
_MAX_TOPICS: Final = 64  # more than any device publishes on


def missing_permission(ipc: IpcConnection, operation: str, resource: str) -> str:
    """Return why the nucleus does not permit an operation, and what `accessControl` must contain instead.

    Calls the nucleus, so it must not be used on the connection's own thread.

    Args:
        ipc: used to read the component's configuration.
        operation: such as `aws.greengrass#PublishToIoTCore`.
        resource: the topic for which it is not permitted.
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
    variables = [each for each in resources if "{" in each]
    permitted = f"{begin} has {operation} for {shown(', '.join(resources), most=_MAX_SHOWN)}"
    if not variables:
        return f"{permitted}, and not for {shown(resource, most=_MAX_SHOWN)}"
    wildcard = "*" if operation == PUBLISH_TO_TOPIC else "+"
    replaced = ", ".join(each.replace(_THING, wildcard) for each in variables)
    return f"{permitted}, and this nucleus does not replace recipe variables: write {shown(replaced, most=_MAX_SHOWN)}"


def _resources(value: Any, operation: str) -> list[str]:  # noqa: ANN401 - any configuration
    """Return the resources for which an operation is permitted; malformed policies are ignored."""
    control = value.get(ACCESS_CONTROL, value) if isinstance(value, Mapping) else {}
    services = _mappings(control)
    policies = [policy for service in services for policy in _mappings(service)]
    return [
        str(resource)
        for policy in policies
        if {operation, "*"} & set(map(str, _list(policy.get("operations"))))
        for resource in _list(policy.get("resources"))
    ]


def _mappings(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - as above
    return [each for each in value.values() if isinstance(each, Mapping)] if isinstance(value, Mapping) else []


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - as above
    return value if isinstance(value, list) else []


@dataclass(slots=True)
class _Denial:
    since: float
    until: float
    reason: str
    backoff: Backoff


class DeniedTopics:
    """Topics for which the component's configuration lacks a permission. Used by one thread.

    A deployment may add the permission at any time, so each topic is tried again, less and less often. While nothing
    else gets through either, no topic is given up. But where others are accepted, a topic that is still denied after a
    while belongs to an older configuration, and would only delay the others.
    """

    def __init__(self, *, backoff: Callable[[], Backoff], give_up_after_s: float) -> None:
        """Set up.

        Args:
            backoff: creates the waits between attempts.
            give_up_after_s: seconds after which a topic is given up, where others are accepted.
        """
        self._new_backoff = backoff
        self._give_up_after = give_up_after_s
        self._denials: dict[str, _Denial] = {}
        self._others_accepted_at = -1.0

    def note_denied(self, topic: str, reason: str) -> None:
        """Note that the nucleus has not permitted a topic."""
        now = time.monotonic()
        denial = self._denials.get(topic)
        if denial is None:
            if len(self._denials) >= _MAX_TOPICS:
                del self._denials[next(iter(self._denials))]
            denial = self._denials[topic] = _Denial(now, now, reason, self._new_backoff())
        denial.until, denial.reason = now + denial.backoff.next(), reason

    def note_accepted(self, topic: str) -> None:
        """Note that the nucleus has accepted a result."""
        self._denials.pop(topic, None)
        self._others_accepted_at = time.monotonic()

    def reason(self, topic: str) -> str | None:
        """Return why a topic is not to be tried now; None if it is."""
        denial = self._denials.get(topic)
        return None if denial is None or time.monotonic() >= denial.until else denial.reason

    def is_given_up(self, topic: str) -> bool:
        """Return whether messages on a topic will never be accepted."""
        denial = self._denials.get(topic)
        if denial is None:
            return False
        return self._others_accepted_at > denial.since and time.monotonic() - denial.since >= self._give_up_after
