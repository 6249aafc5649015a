"""`beeagent collect review`: where the edge and the cloud model disagree, in figures and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.coco_metrics import ImageMatches
from beeagent_models.collected import Collected
from beeagent_models.contact_sheet import ContactSheet, fitted
from beeagent_models.datasets.image_files import load_image
from beeagent_models.drawing import check_picture_path, draw_truth, write_picture

_SIDE = 480  # pixels, of a picture on the sheet


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the two models saw in one frame, at IoU 0.5.

    Attributes:
        index: of the frame in the collection.
        both: boxes that both saw.
        cloud_alone: boxes that only the cloud model saw.
        edge_alone: boxes that only the edge model saw.
    """

    index: int
    both: int
    cloud_alone: int
    edge_alone: int


def disagreements(collected: Collected) -> list[Disagreement]:
    """Count per frame, the greatest disagreement first."""
    counted = [_count(index, matches) for index, matches in enumerate(collected.matches)]
    return sorted(counted, key=lambda one: (-(one.cloud_alone + one.edge_alone), one.index))


def review(collected: Collected, *, folder: Path | None, sheet: Path | None, most: int) -> list[str]:
    """Draw the frames, the greatest disagreement first: green what both saw, orange the cloud, red the edge alone.

    Args:
        collected: the frames.
        folder: where each frame is drawn to, its rank before its name; None for none.
        sheet: where a contact sheet is drawn to; None for none.
        most: how many frames are drawn.

    Returns:
        What the models agreed on, in lines.

    Raises:
        InputError: a path or a picture cannot be used.
    """
    if sheet is not None:
        check_picture_path(sheet)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be made: {error.strerror or error}") from None
    found = disagreements(collected)
    shown = found[:most]
    if folder is not None or sheet is not None:
        _draw(collected, shown, folder=folder, sheet=sheet)
    where = " and ".join(str(path) for path in (folder, sheet) if path is not None)
    gone = f"{collected.left_out} frames left out: their picture is gone or their line not whole"
    return [
        *_told(found),
        *([gone] if collected.left_out else []),
        *([f"{where}: {len(shown)} of {len(found)} frames"] if where else []),
    ]


def _draw(collected: Collected, shown: Sequence[Disagreement], *, folder: Path | None, sheet: Path | None) -> None:
    grid = ContactSheet(len(shown), columns=0, side=_SIDE) if sheet is not None and shown else None
    digits = len(str(len(shown)))
    for rank, one in enumerate(shown, start=1):
        image = collected.dataset.images[one.index]
        drawn = draw_truth(
            load_image(image),
            image,
            collected.edge[one.index],
            collected.matches[one.index],
            threshold=0.0,
            names=("both", "cloud alone", "edge alone"),
        )
        if folder is not None:
            write_picture(folder / f"{rank:0{digits}}-{image.path.stem}.jpg", drawn)
        if grid is not None:
            grid.add(fitted(drawn, _SIDE), collected.captured_at[one.index])
    if sheet is not None and grid is not None:
        write_picture(sheet, grid.pixels)


def _count(index: int, matches: ImageMatches) -> Disagreement:
    return Disagreement(
        index=index,
        both=int((matches.scored & matches.hits).sum()),
        cloud_alone=int((matches.found_at < 0).sum()),
        edge_alone=int((matches.scored & ~matches.hits).sum()),
    )


def _told(found: Sequence[Disagreement]) -> list[str]:
    both, cloud, edge = (sum(getattr(one, name) for one in found) for name in ("both", "cloud_alone", "edge_alone"))
    apart = sum(bool(one.cloud_alone or one.edge_alone) for one in found)
    return [
        f"{len(found)} frames on which both models were heard; on {apart} they disagree",
        f"{both} boxes both saw, {cloud} the cloud model alone, {edge} the edge model alone",
    ]
