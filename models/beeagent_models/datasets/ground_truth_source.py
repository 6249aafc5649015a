"""The reader of Ground Truth manifests, line by line."""

from collections.abc import Iterator
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.datasets.builder import check_labels
from beeagent_models.datasets.defect import Defect, DefectKind, Findings, strict
from beeagent_models.datasets.ground_truth import ClassMaps, ManifestLine, manifest_lines, read_line
from beeagent_models.datasets.reference import find_picture, is_s3, reference_path
from beeagent_models.datasets.stated import Reader, StatedPicture, name_within


class GroundTruthSource(Reader):
    """A manifest as a `Source`.

    Args:
        manifest: the file; it is gone through once more for its classes, when they are asked for.
        labels: the classes, in order; by default those of the manifest, in the order of their ids.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.
        allowed: the only classes that a line may name, even without a box; None for any.
    """

    def __init__(
        self,
        manifest: Path,
        *,
        labels: tuple[str, ...] | None,
        attribute: str | None,
        allowed: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self._manifest = manifest
        self._given = labels
        self._labels = labels
        self._attribute = attribute
        self._allowed = allowed
        if labels is not None:
            check_labels(str(manifest), labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Source`."""
        if self._labels is None:
            classes = ClassMaps()
            for findings in self._lines():
                strict(classes.join(strict(findings)))
            strict(classes.refuse_none(self._manifest))
            self._labels = classes.labels
        return self._labels

    def entries(self) -> Iterator[StatedPicture | Defect]:
        """See `Reader`."""
        classes = ClassMaps()
        empty = True
        for findings in self._lines():
            empty = False
            line = yield from findings
            if self._given is None:
                yield from classes.join(line)
            for name in line.class_map.values():
                if self._allowed is not None and name not in self._allowed:
                    what = f"label '{name}' is not one of {', '.join(self._allowed)}"
                    yield Defect(line.where, DefectKind.LABEL_UNKNOWN, what)
            yield stated_line(line)
        if empty:
            raise InputError(f"{self._manifest}: there is no line in it")
        if self._given is None:
            yield from classes.refuse_none(self._manifest)

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture beside the manifest."""
        return find_picture(picture.reference, beside=self._manifest.parent, where=picture.where)

    def _lines(self) -> Iterator[Findings[ManifestLine]]:
        for where, text in manifest_lines(self._manifest):
            yield read_line(text, where=where, attribute=self._attribute)


def stated_line(line: ManifestLine) -> StatedPicture:
    """Return what a line states of its picture."""
    path = reference_path(line.source_ref)
    return StatedPicture(
        where=line.where,
        reference=line.source_ref,
        name=name_within(path.lstrip("/") if is_s3(line.source_ref) else path),
        size=line.size,
        boxes=line.boxes,
        # A class without a name is a defect of the line; its boxes are still told apart by class.
        labels=tuple(line.class_map.get(class_id, str(class_id)) for class_id in line.class_ids),
    )
