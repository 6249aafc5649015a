import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from beeagent.errors import BeeagentError, InputError
from beeagent_models.datasets.download import download
from support.range_server import Served, range_server

CONTENT = bytes(range(256)) * 4096  # 1 MiB
OTHER = CONTENT[::-1]


@pytest.fixture
def served() -> Iterator[Served]:
    with range_server(CONTENT) as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    return []


def fetch(served: Served, folder: Path, waits: list[float], *, tries: int = 3, size: int | None = None) -> Path:
    file = folder / "dataset.zip"
    download(served.url, file, tries=tries, wait=waits.append, size=size)
    assert [path.name for path in folder.iterdir()] == ["dataset.zip"]
    return file


def test_a_file_arrives_whole_in_one_request(served: Served, tmp_path: Path, waits: list[float]) -> None:
    assert fetch(served, tmp_path, waits, size=len(CONTENT)).read_bytes() == CONTENT
    assert (served.requests, waits) == ([None], [])


def test_dropped_connection_requests_only_the_rest(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.cut_after = [300_000, 200_000]
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert served.requests == [None, "bytes=300000-", "bytes=500000-"]
    assert len(waits) == 2


def test_later_call_resumes_the_download(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.cut_after = [300_000, 0, 0]
    with pytest.raises(BeeagentError, match="300000 bytes are kept; the same command resumes it") as caught:
        fetch(served, tmp_path, waits, tries=2)
    assert not isinstance(caught.value, InputError)
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert served.requests[-1] == "bytes=300000-"


def test_date_identifies_the_file_without_etag(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.etag, served.last_modified = 'W/"weak"', "Wed, 04 May 2022 10:00:00 GMT"
    served.cut_after = [300_000]
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert served.requests == [None, "bytes=300000-"]


def test_without_tag_and_date_it_begins_anew(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.etag = None
    served.cut_after = [300_000]
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert served.requests == [None, None]


def test_a_server_without_ranges_sends_all_of_it_again(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.ranges = False
    served.cut_after = [300_000]
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("other", [OTHER, OTHER[:400_000], OTHER[:200_000]], ids=["as long", "shorter", "shorter yet"])
def test_halves_of_two_files_are_never_joined(
    served: Served, tmp_path: Path, waits: list[float], other: bytes, *, if_range: bool
) -> None:
    served.if_range = if_range
    served.cut_after = [300_000, 0]
    with pytest.raises(BeeagentError):
        fetch(served, tmp_path, waits, tries=1)
    served.change(other, '"two"')
    before = len(served.requests)
    assert fetch(served, tmp_path, waits).read_bytes() == other
    # A server that knows If-Range sends all of the new file at once; another's part is thrown away first.
    assert len(served.requests) - before == (1 if if_range else 2)


def test_partial_download_of_another_address_is_discarded(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.cut_after = [300_000, 0]
    with pytest.raises(BeeagentError):
        fetch(served, tmp_path, waits, tries=1)
    served.url += "?other"
    served.content = OTHER
    assert fetch(served, tmp_path, waits).read_bytes() == OTHER
    assert served.requests[-1] is None


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1}'])
def test_a_part_of_unknown_origin_is_dropped(served: Served, tmp_path: Path, waits: list[float], note: str) -> None:
    (tmp_path / "dataset.zip.part").write_bytes(b"rubbish")
    (tmp_path / "dataset.zip.part.json").write_text(note)
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken_as_it_is(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.cut_after = [len(CONTENT) - 1, 0]
    with pytest.raises(BeeagentError):
        fetch(served, tmp_path, waits, tries=1)
    with (tmp_path / "dataset.zip.part").open("ab") as part:
        part.write(CONTENT[-1:])
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert served.requests[-1] == f"bytes={len(CONTENT)}-"


def test_without_an_announced_length_the_end_is_the_end(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.announces_length = False
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "what"),
    [(404, "404 Not Found: there is nothing"), (403, "403 Forbidden: it is not public"), (400, "400 Bad Request$")],
)
def test_refusal_is_reported_at_once(
    served: Served, tmp_path: Path, waits: list[float], status: int, what: str
) -> None:
    served.statuses = [status]
    with pytest.raises(InputError, match=rf"{served.url} was refused: {what}"):
        fetch(served, tmp_path, waits)
    assert (len(served.requests), waits) == (1, [])
    assert not list(tmp_path.iterdir())


def test_busy_server_is_retried(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.statuses = [503, 500]
    assert fetch(served, tmp_path, waits).read_bytes() == CONTENT
    assert len(waits) == 2


def test_permanently_busy_server_fails(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.statuses = [503] * 9
    with pytest.raises(BeeagentError, match="503 Service Unavailable; 0 bytes are kept"):
        fetch(served, tmp_path, waits, tries=3)
    assert len(served.requests) == 3


def test_download_without_progress_fails(served: Served, tmp_path: Path, waits: list[float]) -> None:
    served.ranges = False
    served.cut_after = [300_000] * 50
    with pytest.raises(BeeagentError, match="the connection was lost after 300000 of 1048576 bytes"):
        fetch(served, tmp_path, waits, tries=3)
    assert len(served.requests) == 4


def test_unreachable_server_fails(tmp_path: Path, waits: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        with pytest.raises(BeeagentError, match="refused; 0 bytes are kept"):
            download(url, tmp_path / "a.zip", tries=2, wait=waits.append)
    assert len(waits) == 1


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    served: Served, tmp_path: Path, waits: list[float]
) -> None:
    with pytest.raises(InputError, match="has 1048576 bytes, not 7: it is not the expected file"):
        fetch(served, tmp_path, waits, size=7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["", "a.zip", "ftp://host/a.zip", "file:///etc/passwd", "http://", "http://[", "http://h/ü", "http://h/a b",
            "http://h:x/", "http://h/\n"]
)  # fmt: skip
def test_invalid_address_is_refused(url: str, tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(InputError, match="is not an http or https URL"):
        download(url, tmp_path / "a.zip", tries=1, wait=waits.append)


def test_a_disk_that_cannot_take_it_is_named(served: Served, tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(InputError, match=r"nowhere/a\.zip\.part cannot be written: No such file"):
        download(served.url, tmp_path / "nowhere" / "a.zip", tries=3, wait=waits.append)
    assert len(served.requests) == 1
