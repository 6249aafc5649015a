import json
from pathlib import Path
from typing import Any

import pytest
from beeagent.errors import InputError
from beeagent_models.datasets.rewrite import rewrite_manifest
from hypothesis import given
from hypothesis import strategies as st


def row(source: str, **changes: object) -> dict[str, Any]:
    return {
        "source-ref": source,
        "bees-500": {"image_size": [], "annotations": [{"left": 1.5}]},
        "bees-500-metadata": {"type": "groundtruth/object-detection", "job-name": "Bienen für alle"},
        "ants": {"kept": True},
        **changes,
    }


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "old.manifest").write_text("\n".join(map(json.dumps, rows)))
    return folder / "old.manifest"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_references_move_and_all_else_stays(tmp_path: Path) -> None:
    rows = [row("s3://their-bucket/deep/a b#1?.jpg"), row("images/ä.jpg")]
    out = tmp_path / "new.manifest"
    assert rewrite_manifest(write(tmp_path, *rows), out=out, bucket="my-bees", prefix="/data/") == 2
    assert lines(out) == [row("s3://my-bees/data/a b#1?.jpg"), row("s3://my-bees/data/ä.jpg")]
    assert [list(line) for line in lines(out)] == [list(line) for line in rows]


def test_rest_of_the_address_is_kept(tmp_path: Path) -> None:
    manifest = write(tmp_path, row("s3://old/bees/a/1.jpg"), row("s3://old/bees/b/1.jpg"))
    rewrite_manifest(manifest, out=manifest, bucket="my-bees", replaces="s3://old/bees")
    assert [line["source-ref"] for line in lines(manifest)] == ["s3://my-bees/a/1.jpg", "s3://my-bees/b/1.jpg"]


def test_any_label_attribute_can_be_renamed(tmp_path: Path) -> None:
    out = tmp_path / "new.manifest"
    rewrite_manifest(write(tmp_path, row("a.jpg")), out=out, bucket="my-bees", rename="bees")
    assert list(lines(out)[0]) == ["source-ref", "bees", "bees-metadata", "ants"]
    rewrite_manifest(out, out=out, bucket="my-bees", attribute="ants", rename="wasps")
    assert list(lines(out)[0]) == ["source-ref", "bees", "bees-metadata", "wasps"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bucket": "My_Bees"}, "the bucket is 'My_Bees'"),
        ({"bucket": "s3://my-bees"}, "without s3://"),
        ({"bucket": "192.168.0.1"}, "the bucket is"),
        ({"replaces": "s3://other/"}, r"old\.manifest:1: s3://old/a/1\.jpg does not begin with s3://other/"),
        ({"replaces": "s3://old/a/1.jpg"}, "has no image name"),
        ({}, r"old\.manifest:2: s3://my-bees/1\.jpg would have the same key as another image at .*old\.manifest:1"),
        ({"prefix": "p" * 1030}, "longer than the 1024 bytes"),
        ({"attribute": "bees-500"}, "without a new name"),
        ({"rename": "ants"}, "has a label attribute ants already"),
        ({"attribute": "wasps", "rename": "x"}, "has no label attribute wasps"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    manifest = write(tmp_path, row("s3://old/a/1.jpg"), row("s3://old/b/1.jpg"))
    out = tmp_path / "new.manifest"
    out.write_text("as it was")
    with pytest.raises(InputError, match=message):
        rewrite_manifest(manifest, out=out, **{"bucket": "my-bees", **options})
    assert out.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.manifest", "old.manifest"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"source-ref": "a.jpg"}\n\xff\n')
    with pytest.raises(InputError, match="m:2: is not UTF-8"):
        rewrite_manifest(tmp_path / "m", out=tmp_path / "n", bucket="my-bees")
    with pytest.raises(InputError, match="the manifest is empty"):
        rewrite_manifest(write(tmp_path), out=tmp_path / "n", bucket="my-bees")
    with pytest.raises(InputError, match=r"nowhere/n cannot be written"):
        rewrite_manifest(write(tmp_path, row("a")), out=tmp_path / "nowhere" / "n", bucket="my-bees")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "source-ref"), json_values, max_size=4))
def test_other_members_of_a_line_are_kept(tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.manifest").write_text(json.dumps({"source-ref": "a.jpg", **content}))
    rewrite_manifest(folder / "any.manifest", out=folder / "any-new.manifest", bucket="my-bees")
    text = (folder / "any-new.manifest").read_text(encoding="utf-8")
    assert json.loads(text) == {"source-ref": "s3://my-bees/a.jpg", **content}
