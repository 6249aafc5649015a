"""What `accessControl` in the component's configuration permits, put into words where a right is missing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from beeagent.greengrass.errors import NOT_FOUND, NucleusError
from beeagent.shown_text import shown

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection

ACCESS_CONTROL: Final = "accessControl"
PUBLISH_TO_IOT_CORE: Final = "aws.greengrass#PublishToIoTCore"
SUBSCRIBE_TO_IOT_CORE: Final = "aws.greengrass#SubscribeToIoTCore"
PUBLISH_TO_TOPIC: Final = "aws.greengrass#PublishToTopic"
GET_SECRET_VALUE: Final = "aws.greengrass#GetSecretValue"  # noqa: S105 - an operation

_THING: Final = "{iot:thingName}"
_MOST_SHOWN: Final = 300


def missing_right(nucleus: "NucleusConnection", operation: str, resource: str) -> str:
    """Return why the nucleus does not permit an operation, and what `accessControl` has to say instead.

    Waits for the nucleus, so it must not be called on the connection's own thread.

    Args:
        nucleus: whose configuration is read.
        operation: such as `aws.greengrass#PublishToIoTCore`.
        resource: the topic that it was refused for.
    """
    begin = f"the nucleus does not permit it: {ACCESS_CONTROL} in the component's configuration"
    try:
        answer = nucleus.ask(lambda client: client.get_configuration_async(key_path=[ACCESS_CONTROL]))
    except NucleusError as error:
        if error.name != NOT_FOUND:
            return f"{begin} does not name it"
        resources = []
    else:
        resources = _resources(answer.value, operation)
    if not resources:
        return f"{begin} has no {operation}: add it for {shown(resource, most=_MOST_SHOWN)}"
    unfilled = [each for each in resources if "{" in each]
    has = f"{begin} has {operation} for {shown(', '.join(resources), most=_MOST_SHOWN)}"
    if not unfilled:
        return f"{has}, and not for {shown(resource, most=_MOST_SHOWN)}"
    wildcard = "*" if operation == PUBLISH_TO_TOPIC else "+"
    right = ", ".join(each.replace(_THING, wildcard) for each in unfilled)
    return f"{has}, and this nucleus does not fill in what stands in braces: write {shown(right, most=_MOST_SHOWN)}"


def _resources(value: Any, operation: str) -> list[str]:  # noqa: ANN401 - whatever stands in the configuration
    """Return the resources that an operation is permitted for; what is not of the form of policies is left out."""
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
