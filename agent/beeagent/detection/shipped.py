"""Where the bee model that comes along is."""

from pathlib import Path

from beeagent.errors import BeeagentError

_NAME = "bees-lite0"


def shipped_bundle() -> Path:
    """Give the folder of the bee model's bundle.

    In an installed package it lies inside; in a checkout that is installed in place, where the repository has it.

    Raises:
        BeeagentError: the installation lacks it.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "bundles" / _NAME, package.parent.parent / "models" / _NAME):
        if (folder / "manifest.json").is_file():
            return folder
    raise BeeagentError(
        f"the model {_NAME} that belongs to beeagent is missing: install beeagent again, or give --model"
    )
