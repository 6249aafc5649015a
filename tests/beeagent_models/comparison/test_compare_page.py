"""The HTML report of a comparison: well-formed, self-contained and escaped."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.comparison.charts import Line, Mark, chart, simplify
from beeagent_models.comparison.comparison import Comparison, DrawingThresholds, Price, compare
from beeagent_models.comparison.page import check_page_path, comparison_page, write_page
from beeagent_models.datasets.image_files import load_image
from hypothesis import given
from hypothesis import strategies as st
from support.compared import CAREFUL, HASTY, bees, findings

VOID = frozenset({"meta", "br", "link", "img"})
EVIL = "<script>alert('x')</script> & \"y\" [bold]"


class Page(HTMLParser):
    """Reads a page, and minds that each element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.styles = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles += data
        elif data.strip():
            self.words.append(data.strip())

    def count(self, tag: str, style: str) -> int:
        return sum(name == tag and style in (attrs.get("class") or "").split() for name, attrs in self.elements)


def comparison_of(
    folder: Path, *, names: tuple[str, str] = ("careful", "hasty"), drawing: DrawingThresholds | None = None
) -> Comparison:
    sources = [findings(names[0], CAREFUL), findings(names[1], HASTY, kind="cloud")]
    return compare(bees(folder), sources, prices=Price(4.0), drawing=drawing or DrawingThresholds())


def test_page_is_well_formed_and_has_the_figures(tmp_path: Path) -> None:
    page = Page(comparison_page(comparison_of(tmp_path), limit=6))
    text = " ".join(page.words)
    assert "3 images, 4 boxes with labels" in text
    assert "careful device 0.752" in text
    assert "careful and hasty 2 1 1 0 50 % 3" in text
    # The article's own figures, named as such, in the table and in the chart.
    assert "article: cloud on its own data - - - 0.990 0.900 0.943" in text
    assert page.count("circle", "reference") == 2
    # One chart for all, and one for each.
    assert page.count("svg", "chart") == 3


def test_page_loads_no_external_resources(tmp_path: Path) -> None:
    page = Page(comparison_page(comparison_of(tmp_path), limit=6))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base", "a"}
    assert not [attrs for _, attrs in page.elements if attrs.keys() & {"src", "href", "xlink:href", "style", "onload"}]
    assert "@import" not in page.styles
    addresses = re.findall(r"url\((.*?)\)", page.styles)
    assert len(addresses) == 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)


def test_images_are_shown_once_with_their_boxes_at_both_thresholds(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, drawing=DrawingThresholds(thresholds=(0.5, 0.85)))
    page = Page(comparison_page(comparison, limit=1))
    (address,) = re.findall(r"url\(data:image/jpeg;base64,(.*?)\)", page.styles)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(address), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert np.abs(shown.astype(int) - load_image(comparison.dataset.images[0])).mean() < 8
    boxes = [attrs for tag, attrs in page.elements if tag == "rect" and "hit" in (attrs.get("class") or "").split()]
    # Of the first image: the careful one finds two, at 0.85 one; the hasty one one, and at 0.85 none.
    assert len(boxes) == 2 + 1 + 1
    assert page.count("rect", "missed") == 0 + 1 + 1 + 2
    assert page.count("rect", "alarm") == 0


def test_unreached_precision_is_reported(tmp_path: Path) -> None:
    page = Page(comparison_page(comparison_of(tmp_path), limit=2))
    assert page.words.count("No threshold reaches that precision on these images.") == 2


def test_names_are_escaped(tmp_path: Path) -> None:
    page = Page(comparison_page(comparison_of(tmp_path, names=(EVIL, "b</style><img src=x>")), limit=6))
    assert EVIL in page.words
    assert not [tag for tag, _ in page.elements if tag in {"script", "img"}]


def test_without_images_the_page_is_small(tmp_path: Path) -> None:
    text = comparison_page(comparison_of(tmp_path), limit=0)
    assert len(text) < 60_000
    assert "data:image" not in text


@pytest.mark.parametrize(("width", "height"), [(3000, 1000), (960, 960)])
def test_large_images_are_made_small(tmp_path: Path, width: int, height: int) -> None:
    dataset = bees(tmp_path)
    # Noise is what JPEG can do least about: more than 600,000 bytes at 960 x 960.
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    images = []
    for image in dataset.images:
        cv2.imwrite(str(image.path), noise)
        images.append(replace(image, width=width, height=height))
    comparison = compare(
        replace(dataset, images=tuple(images)),
        [findings("careful", CAREFUL), findings("hasty", HASTY)],
        prices=Price(4.0),
        drawing=DrawingThresholds(),
    )
    addresses = re.findall(r"url\(data:image/jpeg;base64,(.*?)\)", comparison_page(comparison, limit=3))
    assert addresses
    for address in addresses:
        jpeg = base64.b64decode(address)
        shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert len(jpeg) <= 300_000
        assert max(shown.shape) <= 960


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compare\.pdf must end in \.html"):
        check_page_path(tmp_path / "compare.pdf")
    with pytest.raises(InputError, match="there is no folder"):
        check_page_path(tmp_path / "none" / "compare.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=r"folder\.html cannot be written: Is a directory"):
        write_page(comparison_of(tmp_path), tmp_path / "folder.html", limit=0)


points = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=50)


@given(points)
def test_a_simplify_curve_keeps_its_ends_and_nearly_its_course(drawn: list[tuple[float, float]]) -> None:
    xs, ys = (np.array([point[axis] for point in drawn], np.float64) for axis in (0, 1))
    thin_xs, thin_ys = simplify(xs, ys)
    kept = list(zip(thin_xs, thin_ys, strict=True))
    assert len(kept) <= len(drawn)
    if drawn:
        assert (kept[0], kept[-1]) == (drawn[0], drawn[-1])
    for x, y in drawn:
        assert min(abs(x - a) + abs(y - b) for a, b in kept) <= 0.002 + 1e-9


@given(points, st.text(), st.floats(0, 1))
def test_any_chart_is_well_formed(drawn: list[tuple[float, float]], text: str, at: float) -> None:
    line = Line(np.array([x for x, _ in drawn]), np.array([y for _, y in drawn]), "c0")
    mark = Mark(at, 1 - at, "c0", text, label=text, hollow=True)
    drawn_chart = chart(title=text, x_label=text, y_label=text, lines=[line], marks=[mark], verticals=[(at, text)])
    page = Page(drawn_chart)
    assert page.count("circle", "mark") == 1
    assert "nan" not in "".join(attrs.get("points") or "" for _, attrs in page.elements)
