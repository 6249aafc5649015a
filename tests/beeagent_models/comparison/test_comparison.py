"""The figures of a comparison, against manual calculations."""

import json
from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent_models.comparison.comparison import Comparison, DrawingThresholds, Price, compare
from beeagent_models.comparison.table import comparison_table
from rich.console import Console
from support.compared import CAREFUL, HASTY, bees, findings


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    sources = [findings("careful", CAREFUL), findings("hasty", HASTY, kind="cloud", seconds=(0.5, 1.0, 1.5))]
    return compare(bees(tmp_path), sources, prices=Price(4.0), drawing=DrawingThresholds())


def test_each_is_measured_as_by_hand(comparison: Comparison) -> None:
    careful, hasty = (contender.evaluation for contender in comparison.contenders)
    # All three right ones come before the wrong one: precision 1 up to recall 3/4, 76 of the 101 samples.
    assert careful.metrics.ap50 == pytest.approx(76 / 101)
    assert (careful.point.precision, careful.point.recall) == (1, 0.75)
    assert careful.point.f1 == pytest.approx(6 / 7)
    assert careful.point.threshold == pytest.approx((0.8 + 0.3) / 2)
    # The wrong one comes first; with all four, precision is 3/4 up to recall 3/4.
    assert hasty.metrics.ap50 == pytest.approx(76 / 101 * 0.75)
    assert (hasty.point.precision, hasty.point.recall) == (0.75, 0.75)
    assert hasty.point.threshold == pytest.approx(0.6)


def test_images_are_shown_at_the_best_threshold_and_at_a_high_precision(comparison: Comparison) -> None:
    careful, hasty = comparison.contenders
    assert [point.threshold for point in careful.points] == pytest.approx([0.55, 0.55])
    assert careful.points[1].floors_kept
    assert not hasty.points[1].floors_kept


def test_agreement_is_counted_as_by_hand(comparison: Comparison) -> None:
    (pair,) = comparison.agreements
    # Of four bees, both found the first and the third, the careful one the second, the hasty one the fourth.
    assert (pair.both, pair.first_alone, pair.second_alone, pair.neither) == (2, 1, 1, 0)
    assert pair.share == 0.5
    # One more in the first image, one in the second, a false alarm in the third; the weak one of 0.3 does not count.
    assert pair.apart.tolist() == [1, 1, 1]
    assert comparison.most_apart(2) == [0, 1]


def test_those_that_say_the_same_are_not_apart(tmp_path: Path) -> None:
    twins = [findings("one", CAREFUL), findings("two", CAREFUL)]
    comparison = compare(bees(tmp_path), twins, prices=Price(4.0), drawing=DrawingThresholds())
    assert comparison.agreements[0].share == 1
    assert comparison.agreements[0].apart.tolist() == [0, 0, 0]
    assert comparison.most_apart(5) == []


def test_one_that_finds_nothing_is_compared_too(tmp_path: Path) -> None:
    sources = [findings("blind", ((), (), ())), findings("careful", CAREFUL)]
    comparison = compare(bees(tmp_path), sources, prices=Price(4.0), drawing=DrawingThresholds())
    assert comparison.contenders[0].evaluation.metrics.ap50 == 0
    (pair,) = comparison.agreements
    assert (pair.both, pair.first_alone, pair.second_alone, pair.neither) == (0, 0, 3, 1)
    assert pair.apart.tolist() == [2, 1, 0]


def test_detections_of_unlabelled_class_make_no_difference(tmp_path: Path) -> None:
    careful = findings("careful", CAREFUL)
    other = findings("other", (*CAREFUL[:2], (((0, 0, 20, 20), 0.95),)))
    mixed = tuple(
        type(found)(found.boxes, found.confidences, found.class_ids + (index == 2), ("bee", "ant"))
        for index, found in enumerate(other.detections)
    )
    other = type(other)(other.name, other.kind, mixed, other.seconds, other.sent)
    comparison = compare(bees(tmp_path), [careful, other], prices=Price(4.0), drawing=DrawingThresholds())
    assert comparison.agreements[0].apart.tolist() == [0, 0, 0]


def test_time_bytes_and_price(comparison: Comparison) -> None:
    careful, hasty = comparison.contenders
    assert careful.milliseconds == pytest.approx(20)
    assert careful.sent == 300
    assert careful.price == 0
    # A second an image, 3,600 an hour: 1,000 cost 4 / 3.6 dollars.
    assert hasty.price == pytest.approx(4 / 3.6)
    assert Price(6.0, images_per_hour=2000).per_thousand(hasty.findings) == pytest.approx(3)
    kept = findings("kept", HASTY, kind="answers", seconds=None)
    assert Price(4.0).per_thousand(kept) is None
    assert Price(4.0, 1000).per_thousand(kept) == pytest.approx(4)
    assert Price(4.0, 1000).per_thousand(findings("messages", HASTY, kind="messages", seconds=None)) == 0


def test_figures_have_a_json_form(comparison: Comparison) -> None:
    figures = json.loads(json.dumps(comparison.to_json(limit=2)))
    careful, hasty = figures["models"]
    assert (figures["dataset"], figures["images"], figures["boxes"], figures["iou"]) == ("garden", 3, 4, 0.5)
    assert (careful["name"], careful["kind"], careful["recall"]) == ("careful", "device", 0.75)
    assert careful["curve"]["recall"] == [0.5, 0.75, 0.75]
    assert careful["milliseconds_per_image"]["median"] == pytest.approx(20)
    assert hasty["usd_per_1000_images"] == pytest.approx(4 / 3.6)
    assert figures["agreement"][0]["share_both_found"] == 0.5
    assert [Path(row["image"]).name for row in figures["most_apart"]] == ["a.png", "b.png"]


def test_the_table_fits_a_terminal_of_80_columns(comparison: Comparison) -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(comparison_table(comparison, limit=2))
    lines = capture.get().splitlines()
    rows = {line.split("  ")[0].strip(): line.split() for line in lines}
    assert rows["careful"] == ["careful", "0.752", "0.550", "1.000", "0.750", "0.857", "20.0", "300", "0"]
    assert rows["hasty"][-1] == "1.11"
    assert rows["article: cloud"][2:] == ["0.990", "0.900", "0.943"]
    assert rows["careful, hasty"][2:] == ["2", "1", "1", "0", "50", "%"]
    assert rows["a.png"] == ["a.png", "1"]


def test_labels_that_do_not_match_are_refused_by_name(tmp_path: Path) -> None:
    sources = [findings("careful", CAREFUL), findings("strange", HASTY, label="Apis")]
    with pytest.raises(InputError, match=r"^strange: garden is labelled bee, but the classes of the model are Apis: "):
        compare(bees(tmp_path), sources, prices=Price(4.0), drawing=DrawingThresholds())


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="--hourly-price is -1"):
        Price(-1)
    with pytest.raises(InputError, match="--images-per-hour is 0"):
        Price(4, 0)
    with pytest.raises(InputError, match="precision floor is 2"):
        DrawingThresholds(precision_floor=2)
    with pytest.raises(InputError, match=r"threshold is 1\.5"):
        DrawingThresholds(thresholds=(0.5, 1.5))
