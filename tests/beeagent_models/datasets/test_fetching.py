import hashlib
import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from beeagent.errors import BeeagentError, InputError
from beeagent_models.datasets.download import download_dataset
from support.range_server import Served, range_server

FILES = {
    "dataset/output.manifest": b'{"source-ref": "s3://b/images/a.jpg"}\n',
    "dataset/images/a.jpg": b"jpeg" * 50_000,
}


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.fixture
def served() -> Iterator[Served]:
    with range_server(zipped(FILES)) as server:
        yield server


def fetch(served: Served, folder: Path, **options: object) -> list[Path]:
    return download_dataset(served.url, folder, wait=lambda _: None, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_zip_is_fetched_unpacked_and_not_fetched_again(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "bees"
    assert fetch(served, out) == [out / "dataset" / "output.manifest"]
    assert contents(out) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["bees"]
    assert fetch(served, out) == [out / "dataset" / "output.manifest"]
    assert len(served.requests) == 1


def test_interrupted_call_resumes(served: Served, tmp_path: Path) -> None:
    served.cut_after = [100_000, 0]
    with pytest.raises(BeeagentError, match="the same command resumes it"):
        fetch(served, tmp_path / "bees", tries=1)
    assert not (tmp_path / "bees").exists()
    fetch(served, tmp_path / "bees")
    assert contents(tmp_path / "bees") == FILES
    assert served.requests[-1] == "bytes=100000-"


def test_the_zip_can_be_kept_and_its_checksum_is_held_to(served: Served, tmp_path: Path) -> None:
    digest = hashlib.sha256(served.content).hexdigest()
    fetch(served, tmp_path / "bees", sha256=digest.upper(), keep=True)
    assert (tmp_path / "bees" / "dataset.zip").read_bytes() == served.content


def test_another_checksum_is_refused_and_the_file_not_kept(served: Served, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has the SHA-256 {hashlib.sha256(served.content).hexdigest()}, not 0000"):
        fetch(served, tmp_path / "bees", sha256="0" * 64)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(InputError, match="must be 64 hexadecimal digits"):
        fetch(served, tmp_path / "bees", sha256="0" * 63)


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("how", ["a bit", "the end", "no zip", "empty"])
def test_a_damaged_zip_is_refused_and_fetched_anew(served: Served, tmp_path: Path, how: str) -> None:
    good = served.content
    damaged = {"a bit": flip(good, 100_000), "the end": good[:-30], "no zip": b"<html>", "empty": b""}[how]
    served.change(damaged, '"bad"')
    with pytest.raises(InputError, match=r"dataset\.zip: is not a zip file, or is damaged"):
        fetch(served, tmp_path / "bees")
    assert not (tmp_path / "bees").exists()
    served.change(good, '"good"')
    fetch(served, tmp_path / "bees")
    assert contents(tmp_path / "bees") == FILES


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_nothing_lands_outside_of_the_folder(served: Served, tmp_path: Path, name: str) -> None:
    served.change(zipped({**FILES, name: b"evil"}), '"evil"')
    with pytest.raises(InputError, match="has an entry outside of its folder: "):
        fetch(served, tmp_path / "deep" / "bees")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_link_in_a_zip_is_refused(served: Served, tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("passwd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    served.change(target.getvalue(), '"link"')
    with pytest.raises(InputError, match="has an entry outside of its folder: passwd"):
        fetch(served, tmp_path / "bees")


def test_a_folder_with_anything_else_in_it_is_left_alone(served: Served, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        fetch(served, tmp_path)
    with pytest.raises(InputError, match="is a file"):
        fetch(served, tmp_path / "mine.txt")
    assert served.requests == []
    assert contents(tmp_path) == {"mine.txt": b"mine"}
