"""Parsing of the Object Detection API's text files; no content crashes the parser."""

from pathlib import Path
from random import Random

import pytest

pytest.importorskip("google.protobuf")

from beeagent.detection import Fit
from beeagent.errors import InputError
from beeagent_export.heads import BoxScales
from beeagent_export.object_detection_api.label_map import read_labels
from beeagent_export.object_detection_api.pipeline_config import parse_pipeline_config, read_pipeline_config
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_file
from support.tiny_object_detection_api import LABEL_MAP, config_text

MARKS = st.sampled_from(["{", "}", "{" * 500, '"', ":-1 "])
POSITIVE = st.floats(0.125, 1000, width=32)


def test_the_reference_article_s_config_is_understood() -> None:
    config = read_pipeline_config(shared_file("third_party/efficientdet_d1_bees.pipeline.config"))
    assert (config.backbone, config.classes, config.width, config.height) == ("b1", 1, 640, 640)
    assert config.fit is Fit.CORNER
    assert config.box_scales == BoxScales(y=1, x=1, height=1, width=1)


@given(
    backbone=st.integers(0, 7),
    classes=st.integers(1, 100_000),
    size=st.integers(64, 2048),
    scales=st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE),
)
def test_all_set_fields_are_read(
    backbone: int, classes: int, size: int, scales: tuple[float, float, float, float]
) -> None:
    y, x, height, width = scales
    config = parse_pipeline_config(
        f"""model <ssd {{ # as protobuf's text allows it
        feature_extractor: {{ type: 'ssd_efficientnet-' "b{backbone}" "_bifpn_keras", bifpn {{ min_level: 3 }} }}
        num_classes: {classes:#x}; unheard_of {{ at: [1, 2.5e3, -inf] all: "}}" }}
        image_resizer {{ fixed_shape_resizer {{ width: {size} height: 512 }} }}
        box_coder {{ faster_rcnn_box_coder {{
            y_scale: {y!r} x_scale: {x!r}f height_scale: {height!r} width_scale: {width!r} }} }}
        post_processing {{ score_converter: SIGMOID }} add_background_class: False }}>""",
        where="test.config",
    )
    assert (config.backbone, config.classes) == (f"b{backbone}", classes)
    assert (config.width, config.height, config.fit) == (size, 512, Fit.STRETCH)
    assert config.box_scales == BoxScales(y=y, x=x, height=height, width=width)


def test_omitted_fields_have_the_api_defaults() -> None:
    text = config_text().replace("y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0", "")
    assert parse_pipeline_config(text, where="").box_scales == BoxScales(y=10, x=10, height=5, width=5)
    with pytest.raises(InputError, match="add_background_class is not false"):
        parse_pipeline_config(text.replace("add_background_class: false", ""), where="")


@given(st.data())
def test_a_damaged_config_is_read_or_refused_in_a_line(data: st.DataObject) -> None:
    text = config_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    garbage = data.draw(
        st.one_of(st.just(""), st.text(max_size=8), st.sampled_from(["{", "}", "{" * 500, '"', ":-1 "]))
    )
    check(text[:start] + garbage + text[end:])


@given(st.text())
def test_any_text_is_refused_in_a_line(text: str) -> None:
    check(text)


def check(text: str) -> None:
    config = refusal = None
    try:
        config = parse_pipeline_config(text, where="test.config")
    except InputError as error:
        refusal = str(error)
    if config is None:
        assert refusal is not None
        assert refusal.startswith("test.config: ")
        assert "\n" not in refusal
    else:
        assert config.classes >= 1
        assert 64 <= config.width <= 2048
        assert min(config.box_scales.y, config.box_scales.width) > 0


NAMES = st.lists(st.text("abcäöü蜂-'\"\\ {}", min_size=1).map(lambda name: f"n{name}n"), min_size=1, unique=True)


@given(NAMES, st.randoms())
def test_label_maps_come_in_the_order_of_their_ids(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], random: Random
) -> None:
    items = list(enumerate(names, start=1))
    random.shuffle(items)
    text = "".join(f"item {{ name: {quoted(name)} id: {number} keypoints {{ id: 9 }} }}\n" for number, name in items)
    path = tmp_path_factory.mktemp("labels") / "label_map.pbtxt"
    path.write_text(text, encoding="utf-8")
    assert read_labels(path, classes=len(names)) == tuple(names)


def quoted(name: str) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in name.encode()) + '"'


@given(st.binary(max_size=200))
def test_any_file_of_labels_is_read_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    for name in ("labels.pbtxt", "labels.txt"):
        (folder / name).write_bytes(content)
        labels, refusal = (), ""
        try:
            labels = read_labels(folder / name, classes=2)
        except InputError as error:
            refusal = str(error)
        assert len(labels) == (0 if refusal else 2)
        assert "\n" not in refusal


@pytest.mark.parametrize("name", ["wasp\\nbee", "wasp\\001"])
def test_names_that_a_labels_file_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "labels.pbtxt").write_text(LABEL_MAP.replace("wasp", name))
    with pytest.raises(InputError, match=r"cannot be written one per line|has a control character"):
        read_labels(tmp_path / "labels.pbtxt", classes=2)
