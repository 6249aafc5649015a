"""Training datasets with their weights and options, from the command line or a mixture file."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beeagent.errors import InputError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.reading import parse_source, read_dataset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """A training dataset with its options.

    Attributes:
        dataset: the labelled photographs; images without boxes are background.
        weight: sampling weight relative to the other datasets.
        ignored_border: left, top, right and bottom strips, as ratios, that may contain unlabelled objects.
        blue_background: the background is blue: shrink loose boxes to their objects, and ignore unlabelled objects.
        cutouts: cut out objects to paste them onto other backgrounds.
        box_scale: factor on the sides of boxes, for one labelling convention in all datasets: the whole animal with
            legs and wings. With several conventions, the network predicts sizes between them.
    """

    dataset: Dataset
    weight: float = 1.0
    ignored_border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    blue_background: bool = False
    cutouts: bool = True
    box_scale: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values, with the name of the dataset."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "dataset": self.dataset.name, "ignored_border": list(self.ignored_border)}


class _Entry(BaseModel):
    """One `[[dataset]]` table of a mixture file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    labels: tuple[str, ...] | None = None
    attribute: str | None = None
    weight: float = Field(1.0, gt=0, le=1000)
    ignored_border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    blue_background: bool = False
    cutouts: bool = True
    box_scale: float = Field(1.0, ge=0.5, le=2)

    def read(self, base: Path, attribute: str | None) -> TrainingSet:
        return TrainingSet(
            dataset=read_dataset(base / self.path, labels=self.labels, label_attribute=self.attribute or attribute),
            weight=self.weight,
            ignored_border=self.ignored_border,
            blue_background=self.blue_background,
            cutouts=self.cutouts,
            box_scale=self.box_scale,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: tuple[_Entry, ...] = Field(min_length=1)


def read_training_sets(text: str, *, attribute: str | None = None) -> tuple[TrainingSet, ...]:
    """Read the datasets of a value of `--data`.

    Args:
        text: `PATH` or `PATH=label,label`, optionally followed by `@WEIGHT`; or a `.toml` mixture file with a
            `[[dataset]]` table per dataset: `path` (relative to the file), `weight`, `labels`, `attribute`,
            `ignored_border`, `blue_background`, `cutouts`, `box_scale`.
        attribute: label attribute to read from Ground Truth manifests that have several; that of a mixture file takes
            precedence.

    Raises:
        InputError: a file or a value cannot be used; the error names file and key.
    """
    if text.endswith(".toml"):
        return _read_file(Path(text), attribute)
    source, weight = text, 1.0
    if "@" in text and not Path(text).exists():
        source, _, number = text.rpartition("@")
        try:
            weight = float(number)
        except ValueError:
            raise InputError(f"data '{text}': '{number}' is not a weight; give PATH@WEIGHT, such as bees@2") from None
        if not 0 < weight <= 1000:
            raise InputError(f"data '{text}': weight {number}: give a number above 0, at most 1000")
    path, labels = parse_source(source)
    return (TrainingSet(dataset=read_dataset(path, labels=labels, label_attribute=attribute), weight=weight),)


def _read_file(path: Path, attribute: str | None) -> tuple[TrainingSet, ...]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        file = _File.model_validate(content)
    except OSError as error:
        raise InputError(f"mixture {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"mixture {path}: not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"mixture {path}: {where}: {first['msg']}") from None
    for entry in file.dataset:
        if not all(0 <= ratio <= 0.5 for ratio in entry.ignored_border):
            raise InputError(f"mixture {path}: ignored_border {list(entry.ignored_border)}: give ratios from 0 to 0.5")
    return tuple(entry.read(path.parent, attribute) for entry in file.dataset)
