"""Label files, and labels packed into a model."""

import io
import unicodedata
import zipfile
from pathlib import Path

import pytest
from beeagent.detection import ModelBundle, read_labels
from beeagent.errors import InputError
from hypothesis import example, given, settings
from hypothesis import strategies as st

MODEL = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 4


def packed(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a model with files packed in, as TFLite metadata has them: a ZIP archive appended to the model."""
    content = io.BytesIO(MODEL)
    with zipfile.ZipFile(content, mode="a", compression=compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bee", ("bee",)),
        ("bee\nwasp\n", ("bee", "wasp")),
        ("bee\r\nwasp\r\n\r\n", ("bee", "wasp")),
        ("\ufeffbee\nwasp", ("bee", "wasp")),
        ("  honey bee \n wasp", ("honey bee", "wasp")),
        ("0 bee\n1 wasp\n", ("bee", "wasp")),
        ("0  bee\n 1: wasp\n2, bumble bee", ("bee", "wasp", "bumble bee")),
        ("1 wasp\n0 bee", ("bee", "wasp")),
        ("0 person\n3 bird", ("person", "???", "???", "bird")),
        ("bee\n2 spotted ladybird", ("bee", "2 spotted ladybird")),
        ("abeille mellifère\n蜜蜂", ("abeille mellifère", "蜜蜂")),
        ("1\n2", ("1", "2")),
    ],
)
def test_labels_are_read_by_line_or_by_id(text: str, expected: tuple[str, ...]) -> None:
    assert read_labels(text, name="labels.txt") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("bee\n\nwasp", "line 2"),
        ("\nbee", "line 1"),
        ("0 bee\n0 wasp", "id 0 twice"),
        ("0 bee\n00 wasp", "id 0 twice"),
        ("bee\nwasp\x00", "control character in line 2"),
        ("0 bee\x1b[2J", "control character in line 1"),
    ],
)
def test_invalid_labels_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_labels(text, name="names.txt")
    assert "names.txt" in str(caught.value)


@settings(max_examples=150)
@given(st.text(max_size=40) | st.text("0129 :,\tab\n\r\u0663\x00\x85", max_size=30))
@example("٣ bee")
@example("99999 bee")
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        labels = read_labels(text, name="labels.txt")
    except InputError as error:
        message = str(error)
        assert message.isprintable()
    else:
        assert labels
        assert all(label and label == label.strip() for label in labels)
        # A label is printed: no terminal may take it for a command.
        assert not any(unicodedata.category(c) == "Cc" for label in labels for c in label if c != "\t")


@given(st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9 -]{0,10}[A-Za-z0-9]", fullmatch=True), min_size=1, max_size=300))
def test_labels_survive_being_written_and_read(labels: list[str]) -> None:
    assert read_labels("\n".join(labels) + "\n", name="labels.txt") == tuple(labels)
    numbered = "".join(f"{index} {label}\n" for index, label in enumerate(labels))
    assert read_labels(numbered, name="labels.txt") == tuple(labels)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_labels_packed_into_a_model_are_found(tmp_path: Path, compression: int) -> None:
    (tmp_path / "m.tflite").write_bytes(packed({"labelmap.txt": b"bee\nwasp\n"}, compression=compression))
    assert ModelBundle.load(tmp_path / "m.tflite").labels == ("bee", "wasp")


def test_a_labels_file_overrides_packed_labels(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(packed({"labelmap.txt": b"bee\n"}))
    (tmp_path / "l.txt").write_text("wasp\n", encoding="utf-8")
    assert ModelBundle.load(tmp_path / "m.tflite", labels=tmp_path / "l.txt").labels == ("wasp",)


@pytest.mark.parametrize("files", [{}, {"vocabulary.bin": b"bee"}, {"a.txt": b"bee", "b.txt": b"wasp"}])
def test_a_model_without_one_packed_label_file_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "m.tflite").write_bytes(packed(files))
    with pytest.raises(InputError, match="--labels"):
        ModelBundle.load(tmp_path / "m.tflite")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"bee\n\nwasp"])
def test_invalid_packed_labels_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.tflite").write_bytes(packed({"labelmap.txt": content}))
    with pytest.raises(InputError, match=r"m\.tflite"):
        ModelBundle.load(tmp_path / "m.tflite")


def test_packed_labels_that_would_fill_the_memory_are_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(
        packed({"labelmap.txt": b"bee\n" * 10_000_000}, compression=zipfile.ZIP_DEFLATED)
    )
    with pytest.raises(InputError, match=r"m\.tflite has over 1000000 bytes of labels packed in"):
        ModelBundle.load(tmp_path / "m.tflite")


@st.composite
def damaged_archives(draw: st.DrawFn) -> bytes:
    """Cut a model with packed labels, or change bytes of its archive."""
    compression = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    content = bytearray(packed({"labelmap.txt": b"bee\nwasp\n" * 20}, compression=compression))
    if draw(st.booleans()):
        return bytes(content[: draw(st.integers(0, len(content)))])
    for _ in range(draw(st.integers(1, 3))):
        content[draw(st.integers(len(MODEL), len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@settings(max_examples=200)
@given(damaged_archives())
def test_any_damage_to_packed_labels_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged-archive.tflite"
    path.write_bytes(content)
    try:
        labels = ModelBundle.load(path).labels
    except InputError as error:
        message = str(error)
        assert message.isprintable()
    else:
        assert labels
