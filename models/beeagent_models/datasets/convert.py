"""Turns a data set of one form into one of another."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.datasets.box_check import Box, reaches_beyond
from beeagent_models.datasets.builder import is_unicode
from beeagent_models.datasets.defect import strict
from beeagent_models.datasets.forms import Form, Pictures
from beeagent_models.datasets.image_files import FoundPicture, find_image
from beeagent_models.datasets.on_disk import FirstSeen, first_seen
from beeagent_models.datasets.replacing import new_folder
from beeagent_models.datasets.stated import Source, StatedPicture
from beeagent_models.datasets.writing import IMAGES, WRITTEN_AS, opened_writer


@dataclass(slots=True)
class Converted:
    """What was written, and what could not be as it was.

    Attributes:
        path: the manifest, the COCO file or `data.yaml`.
        pictures: how many.
        boxes: how many.
        changes: what had to be changed or left out, in words, and how much of it.
    """

    path: Path
    pictures: int = 0
    boxes: int = 0
    changes: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """Note a change."""
        self.changes[what] = self.changes.get(what, 0) + 1


def convert(  # noqa: PLR0913 - each a choice of its own
    source: Source,
    folder: Path,
    *,
    form: Form,
    pictures: Pictures,
    clip: bool,
    attribute: str,
    created_at: datetime,
    progress: Callable[[], None] | None = None,
) -> Converted:
    """Write a data set anew, in flat memory.

    Kept are the pictures in their order, their sizes and paths within the set, also those without a box; the classes
    in their order; and the boxes: COCO takes fractions of pixels, YOLO ratios of 12 digits, which come back to the same
    whole pixels, and Ground Truth whole pixels only, so fractions are rounded for it, and counted.

    Args:
        source: what to read.
        folder: where to write; new or empty. Its pictures go to `images/`.
        form: what to write.
        pictures: whether to copy the pictures, to link to them, or to do without: then they are not looked at
            either.
        clip: cut boxes that reach out of their picture, and leave out those outside, instead of refusing them.
        attribute: the label attribute of a manifest.
        created_at: the date that a manifest states.
        progress: called after each picture.

    Raises:
        InputError: the source is defective, the form cannot say what it has, or the folder cannot be written to.
    """
    done = Converted(folder / WRITTEN_AS[form])
    with (
        new_folder(folder) as new,
        first_seen() as names,
        first_seen() as files,
        opened_writer(form, new, labels=source.labels, attribute=attribute, created_at=created_at) as writer,
    ):
        for stated in source.pictures():
            _refuse_name(stated, names)
            found = FoundPicture(stated, None)
            if pictures is not Pictures.NONE or stated.size is None:
                found = strict(find_image(stated, source.find, files))
            picture = _fitted(found.picture, source.labels, form=form, clip=clip, done=done)
            if found.path is not None and pictures is not Pictures.NONE:
                _bring(found.path, new / IMAGES / stated.name, link=pictures is Pictures.LINK)
            writer.add(picture)
            done.pictures += 1
            done.boxes += len(picture.boxes)
            if progress is not None:
                progress()
        if not done.pictures:
            raise InputError("there is no picture in the data set")
    done.changes |= source.left_out
    return done


def _refuse_name(picture: StatedPicture, names: FirstSeen) -> None:
    if not picture.name or "\0" in picture.name or not is_unicode(picture.name):
        raise InputError(f"{picture.where}: '{picture.reference}' is no name of a picture")
    before = names.at(picture.name, picture.where)
    if before is not None:
        raise InputError(f"{picture.where}: {picture.reference} would be the same file as the picture at {before}")


def _fitted(
    picture: StatedPicture, known: tuple[str, ...], *, form: Form, clip: bool, done: Converted
) -> StatedPicture:
    """Make boxes fit for the form; the rounding of whoever wrote them is not worth a word."""
    size = picture.known_size
    kept: list[tuple[str, Box]] = []
    for where, label, box in zip(picture.box_places, picture.labels, picture.boxes, strict=True):
        if label not in known:
            raise InputError(f"{where}: label '{label}' is not one of {', '.join(known)}")
        left, top, right, bottom = box
        what = f"the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        # Written so that what is no number fails, too.
        if not (left < right and top < bottom):
            raise InputError(f"{where}: {what} has no area; correct or remove it")
        beyond = reaches_beyond(box, size)
        if beyond and not clip:
            raise InputError(
                f"{where}: {what} reaches out of the picture of {size[0]}x{size[1]}; correct "
                "it, or have such boxes cut: --clip"
            )
        inside = _inside(box, size)
        if not (inside[0] < inside[2] and inside[1] < inside[3]):
            done.count("boxes left out because they lie outside of their picture")
            continue
        if beyond:
            done.count("boxes cut because they reached out of their picture")
        if form is Form.GROUND_TRUTH and not all(edge.is_integer() for edge in inside):
            done.count("boxes rounded to whole pixels")
        kept.append((label, inside))
    return replace(picture, labels=tuple(label for label, _ in kept), boxes=tuple(box for _, box in kept), places=())


def _inside(box: Box, size: tuple[int, int]) -> Box:
    left, top, right, bottom = map(float, box)
    width, height = map(float, size)
    return max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)


def _bring(path: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(path.resolve())
    else:
        shutil.copyfile(path, target)
