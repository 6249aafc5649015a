"""A Ground Truth manifest, line by line."""

from collections.abc import Iterator
from pathlib import Path

from beeagent_models.datasets.builder import check_labels
from beeagent_models.datasets.ground_truth import join_class_maps, parse_manifest
from beeagent_models.datasets.reference import find_picture, is_s3, reference_path
from beeagent_models.datasets.stated import StatedPicture, name_within


class GroundTruthSource:
    """A manifest as a `Source`.

    Args:
        manifest: the file; it is gone through once at the start, for its classes.
        labels: the classes, in order; by default those of the manifest, in the order of their ids.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.

    Raises:
        InputError: the manifest is defective; names file and line.
    """

    def __init__(self, manifest: Path, *, labels: tuple[str, ...] | None, attribute: str | None) -> None:
        self._manifest = manifest
        self._attribute = attribute
        self.labels = labels or join_class_maps(parse_manifest(manifest, attribute=attribute), manifest)
        check_labels(str(manifest), self.labels)
        self.left_out: dict[str, int] = {}

    def pictures(self) -> Iterator[StatedPicture]:
        """Give the lines as pictures."""
        for line in parse_manifest(self._manifest, attribute=self._attribute):
            path = reference_path(line.source_ref)
            yield StatedPicture(
                where=line.where,
                reference=line.source_ref,
                name=name_within(path.lstrip("/") if is_s3(line.source_ref) else path),
                size=line.size,
                boxes=line.boxes,
                labels=tuple(line.class_map[class_id] for class_id in line.class_ids),
            )

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture beside the manifest."""
        return find_picture(picture.reference, beside=self._manifest.parent, where=picture.where)
