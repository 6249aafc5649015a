"""How a contender of a comparison is named on the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beeagent.errors import InputError

FORM: Final = "[NAME=]WHAT[,tiles=CxR][,labels=FILE]"
MOST: Final = 6
"""Contenders of one comparison: more are not told apart on one page."""

_OPTION = re.compile(r",(?=(?:tiles|labels)=)")


@dataclass(frozen=True, slots=True)
class Spec:
    """One of those to be compared.

    Attributes:
        name: to call it.
        what: a bundle, the name of a bundled model, a bare `.tflite`, a folder of results, or an ARN.
        tiles: for a model of the device, as the agent takes it; None as the bundle recommends.
        labels: of a bare `.tflite`.
    """

    name: str
    what: str
    tiles: str | None = None
    labels: Path | None = None

    @property
    def is_arn(self) -> bool:
        """Whether it is a model in the cloud."""
        return self.what.startswith("arn:")


def parse_specs(texts: Sequence[str]) -> list[Spec]:
    """Take apart how all contenders are named.

    Raises:
        InputError: one is not understood, there are too few or too many, or two have one name.
    """
    specs = [parse_spec(text) for text in texts]
    if not 2 <= len(specs) <= MOST:
        raise InputError(f"{len(specs)} named to be compared: allowed are 2 to {MOST}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{names.count(name)} of those compared are called {name}: give each a name, NAME=WHAT")
    return specs


def parse_spec(text: str) -> Spec:
    """Take apart how a contender is named; without a name it is called after itself.

    Raises:
        InputError: there is nothing on one side of an `=`, or an option is there twice.
    """
    head, *given = _OPTION.split(text)
    options = dict(option.split("=", 1) for option in given)
    if len(options) < len(given) or not all(options.values()):
        raise InputError(f"'{text}': an option is there twice, or without a value: write {FORM}")
    name, equals, what = head.partition("=")
    if not equals or head.startswith("arn:") or Path(head).exists():
        name, what = _own_name(head, options.get("tiles")), head
    if not name or not what:
        raise InputError(f"'{text}' names nothing to compare: write {FORM}")
    labels = options.get("labels")
    return Spec(name, what, options.get("tiles"), None if labels is None else Path(labels))


def _own_name(what: str, tiles: str | None) -> str:
    if what.startswith("arn:"):
        # The version's name: arn:…:project/NAME/version/VERSION/NUMBER
        return what.split("/")[-2] if what.count("/") > 1 else what
    path = Path(what).absolute()
    name = path.stem if path.suffix == ".tflite" else path.name
    return name if tiles is None else f"{name} {tiles}"
