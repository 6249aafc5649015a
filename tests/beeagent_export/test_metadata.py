"""TFLite metadata, read by an independent flatbuffers reader."""

import io
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from beeagent_export.metadata import ModelDescription, add_metadata, encode_metadata
from beeagent_export.postprocess import PostProcessOptions, append_postprocess
from support.raw_heads import convert_as_they_are, free_heads

pytestmark = pytest.mark.training

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=30)


@dataclass(frozen=True)
class Table:
    """A table in a flatbuffer: https://flatbuffers.dev/internals/."""

    data: bytes
    at: int

    def slot(self, number: int) -> int | None:
        """Return the offset of the field of a slot; None if it is omitted."""
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + 4 + 2 * number)[0]
        return self.at + offset if offset else None

    def number(self, slot: int, form: str) -> float | None:
        at = self.slot(slot)
        return None if at is None else struct.unpack_from(f"<{form}", self.data, at)[0]

    def follow(self, slot: int) -> int | None:
        at = self.slot(slot)
        return None if at is None else at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, slot: int) -> "Table":
        at = self.follow(slot)
        assert at is not None
        return Table(self.data, at)

    def text(self, slot: int) -> str:
        at = self.follow(slot)
        assert at is not None
        length = struct.unpack_from("<I", self.data, at)[0]
        assert self.data[at + 4 + length] == 0
        return self.data[at + 4 : at + 4 + length].decode()

    def numbers(self, slot: int, form: str) -> list[float]:
        at = self.follow(slot)
        assert at is not None
        return list(struct.unpack_from(f"<{struct.unpack_from('<I', self.data, at)[0]}{form}", self.data, at + 4))

    def tables(self, slot: int) -> list["Table"]:
        at = self.follow(slot)
        if at is None:
            return []
        places = [at + 4 + 4 * index for index in range(struct.unpack_from("<I", self.data, at)[0])]
        return [Table(self.data, place + struct.unpack_from("<I", self.data, place)[0]) for place in places]


def root(data: bytes) -> Table:
    assert data[4:8] == b"M001"
    return Table(data, struct.unpack_from("<I", data)[0])


def describe(**changes: object) -> ModelDescription:
    values: dict[str, object] = {
        "name": "bees",
        "description": "Finds bees.",
        "version": "1.2",
        "licence": "Apache-2.0",
        "labels": ("bee", "wasp"),
        "width": 320,
        "height": 256,
        "mean": 127.0,
        "std": 128.0,
        "largest_input": 255.0,
        "smallest_input": 0.0,
        "score_threshold": 0.375,
    }
    return ModelDescription(**{**values, **changes})  # type: ignore[arg-type]  # of the right types, said above


@pytest.fixture(scope="module")
def model() -> bytes:
    heads, _ = free_heads(count=20, classes=2, seed=0)
    return append_postprocess(convert_as_they_are(heads), heads, PostProcessOptions())


def packed_metadata(model: bytes) -> bytes:
    tree = schema.ModelT.InitFromPackedBuf(model)
    (entry,) = [entry for entry in tree.metadata if entry.name == b"TFLITE_METADATA"]
    return bytes(tree.buffers[entry.buffer].data)


@given(name=TEXT, description=TEXT, version=TEXT, licence=TEXT)
def test_texts_come_back(name: str, description: str, version: str, licence: str) -> None:
    table = root(encode_metadata(describe(name=name, description=description, version=version, licence=licence)))
    assert [table.text(slot) for slot in (0, 1, 2, 5)] == [name, description, version, licence]
    assert table.text(7) == "1.0.0"


def test_input_metadata_has_colours_size_and_normalisation() -> None:
    (image,) = root(encode_metadata(describe())).tables(3)[0].tables(2)
    assert image.table(3).number(0, "B") == 2  # ImageProperties
    properties = image.table(3).table(1)
    assert properties.number(0, "B") == 1  # RGB
    assert [properties.table(1).number(slot, "I") for slot in (0, 1)] == [320, 256]
    (unit,) = image.tables(4)
    assert unit.number(0, "B") == 1  # NormalizationOptions
    assert [unit.table(1).numbers(slot, "f") for slot in (0, 1)] == [[127.0], [128.0]]
    assert [image.table(5).numbers(slot, "f") for slot in (0, 1)] == [[255.0], [0.0]]


def test_outputs_say_which_is_which() -> None:
    location, category, score, number = root(encode_metadata(describe())).tables(3)[0].tables(3)
    names = [table.text(0) for table in (location, category, score, number)]
    assert names == ["location", "category", "score", "number of detections"]
    assert location.table(3).number(0, "B") == 3  # BoundingBoxProperties
    box = location.table(3).table(1)
    assert box.numbers(0, "I") == [1, 0, 3, 2]  # left, top, right, bottom in top, left, bottom, right
    assert box.number(1, "B") == 1  # BOUNDARIES
    assert box.number(2, "B") is None  # RATIO, the default
    (labels,) = category.tables(6)
    assert labels.text(0) == "labels.txt"
    assert labels.number(2, "B") == 3  # TENSOR_VALUE_LABELS
    (unit,) = score.tables(4)
    assert unit.number(0, "B") == 3  # ScoreThresholdingOptions
    assert unit.table(1).number(0, "f") == 0.375
    assert number.tables(4) == []


def test_metadata_and_labels_are_in_the_file(model: bytes) -> None:
    description = describe(labels=("Biene", "Hornisse ä", "雀蜂"))
    described = add_metadata(model, description)
    assert packed_metadata(described) == encode_metadata(description)
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
        assert archive.read("labels.txt").decode().splitlines() == list(description.labels)


def test_described_model_computes_as_before(model: bytes) -> None:
    before, after = (
        Interpreter(model_content=content).get_signature_runner("serving_default")
        for content in (model, add_metadata(model, describe()))
    )
    shape = before.get_input_details()["images"]["shape"]
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected, outputs = before(images=images), after(images=images)
    assert outputs.keys() == expected.keys()
    np.testing.assert_array_equal(outputs["num_detections"], expected["num_detections"])
    count = int(expected["num_detections"][0])
    assert count > 0
    for name in ("detection_boxes", "detection_classes", "detection_scores"):
        # The op leaves what is beyond the count as it found it.
        np.testing.assert_array_equal(outputs[name][0, :count], expected[name][0, :count])


def test_the_same_model_is_the_same_file(model: bytes) -> None:
    assert add_metadata(model, describe()) == add_metadata(model, describe())
