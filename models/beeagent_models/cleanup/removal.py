"""One thing that is to be removed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beeagent.errors import BeeagentError

from beeagent_models.aws import PROJECT_TAG


@dataclass(frozen=True, slots=True)
class Removal:
    """A step of the clean-up.

    Attributes:
        what: in words.
        costs: what it costs as long as it is there, in words; empty for nothing worth telling.
        act: does it, and returns when it is done; it looks at the tag again first.
    """

    what: str
    costs: str
    act: Callable[[], None]


@dataclass(slots=True)
class Found:
    """What there is.

    Attributes:
        removals: what can be removed, in the order in which it has to be.
        kept: what stays, each with the reason.
    """

    removals: list[Removal] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def is_ours(tags: Mapping[str, str] | Sequence[Mapping[str, Any]], project: str | None) -> bool:
    """Say whether tags are those of something that beeagent made.

    Args:
        tags: as one service gives them, by key, or as another does, each with `Key` and `Value`.
        project: the project's name, if only things of one project count.
    """
    by_key = dict(tags) if isinstance(tags, Mapping) else {tag["Key"]: tag["Value"] for tag in tags}
    return PROJECT_TAG in by_key and project in (None, by_key[PROJECT_TAG])


def refuse_unless_ours(what: str, *, ours: bool) -> None:
    """Stop where something has lost its tag since it was found.

    Raises:
        BeeagentError: it has.
    """
    if not ours:
        raise BeeagentError(f"{what} has the tag {PROJECT_TAG} no more, and is left alone")
