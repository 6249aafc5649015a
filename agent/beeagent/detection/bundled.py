"""The bundled models: those that ship in the wheel."""

from pathlib import Path

from beeagent.errors import BeeagentError

DEFAULT_MODEL = "bees-lite0"

_NAMES = (DEFAULT_MODEL, "bees-lite0-wide")


def bundled_models() -> dict[str, Path]:
    """Return the folder of each bundled model by its name, the default model first.

    In an installed package they lie inside; in a checkout that is installed in place, where the repository has them.
    """
    package = Path(__file__).resolve().parent.parent
    folders = (package / "bundles", package.parent.parent / "models")
    return {
        name: folder / name
        for name in _NAMES
        for folder in reversed(folders)
        if (folder / name / "manifest.json").is_file()
    }


def default_model() -> Path:
    """Return the folder of the default model.

    Raises:
        BeeagentError: the installation lacks it.
    """
    try:
        return bundled_models()[DEFAULT_MODEL]
    except KeyError:
        raise BeeagentError(
            f"the model {DEFAULT_MODEL} that belongs to beeagent is missing: install beeagent again, or give --model"
        ) from None


def resolve_model(path: Path) -> Path:
    """Return the folder of a bundled model where the path is its name and no such path exists, else the path itself.

    Raises:
        OSError: whether the path exists cannot be found out.
    """
    return path if path.exists() else bundled_models().get(str(path), path)
