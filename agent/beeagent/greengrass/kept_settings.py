"""The last configuration that worked, for a start with one that does not."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from beeagent.greengrass.missing_rights import ACCESS_CONTROL

_LOG: Final = logging.getLogger(__name__)

_FILE: Final = "last-working-configuration.json"


class KeptConfiguration:
    """A file with the configuration that the agent last ran with, as the nucleus gave it.

    It has the names of secrets and not the secrets; a password that somebody wrote into the configuration itself is in
    it, so only the component's user may read it.

    Args:
        folder: where the component keeps its state.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._kept = self.read()

    def read(self) -> dict[str, Any] | None:
        """Return the configuration; None if there is none, or it cannot be read."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _LOG.warning("%s cannot be read: %s", self._path, error)
            return None
        return content if isinstance(content, dict) else None

    def keep(self, configuration: Mapping[str, Any]) -> None:
        """Keep a configuration in place of the one before; a disk that does not take it is logged, and no error."""
        content = {key: value for key, value in configuration.items() if key != ACCESS_CONTROL}
        if content == self._kept:
            return
        self._kept = content  # tried once
        unfinished = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._path)
        except OSError as error:
            _LOG.warning("the configuration that works is not kept in %s: %s", self._path, error)
