import json
from pathlib import Path
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent_models.datasets import json_stream
from beeagent_models.datasets.json_stream import members
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    content=st.dictionaries(st.text(), json_values, max_size=5),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    chunk=st.sampled_from([1, 2, 7, 1 << 16]),
)
def test_all_of_an_object_comes_in_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    content: dict[str, Any],
    indent: int | None,
    *,
    ascii_only: bool,
    chunk: int,
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(
        json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", errors="surrogatepass"
    )
    read: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        for key, place, value in members(file):
            if place is None:
                read[key] = value
            else:
                assert place == len(read.setdefault(key, []))
                read[key].append(value)
    assert read == content


@given(
    st.text() | st.sampled_from(["{", '{"a"', '{"a":', '{"a": [', '{"a": [1', '{"a": [1,', '{"a": 1}x', '{"a": 1,}'])
)
def test_value_that_is_no_object_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        if isinstance(json.loads(text), dict):
            return
    except json.JSONDecodeError:
        pass
    file = tmp_path_factory.getbasetemp() / "text.json"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError, match=r"text\.json: (Invalid JSON: .* at character \d+|is not UTF-8)"):
        list(members(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "Invalid JSON"),
        (b'{"a": {"b": "\n"}}', "Invalid JSON: Invalid control"),
    ],
)
def test_rubbish_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(members(tmp_path / "a.json"))
    with pytest.raises(InputError, match="cannot be read"):
        list(members(tmp_path / "none.json"))
