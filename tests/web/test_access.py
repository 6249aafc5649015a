"""Sessions, one-time tokens, rate limits and the password file, with a settable clock."""

from pathlib import Path

import pytest
from beeagent.errors import InputError
from beeagent.web.access import (
    OneTimeToken,
    Sessions,
    Throttle,
    hash_password,
    read_passwords,
    write_password,
)
from hypothesis import example, given
from hypothesis import strategies as st

HOUR = 3600.0


class Clock:
    """Seconds that only a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_session_ends_when_unused_or_old(clock: Clock) -> None:
    sessions = Sessions(clock)
    idle, used = sessions.begin("viewer"), sessions.begin("editor")
    assert idle != used
    for _ in range(13):
        clock.now += 12 * HOUR - 1
        assert sessions.role(used) == "editor"
    assert sessions.role(idle) is None
    clock.now += 12 * HOUR
    assert sessions.role(used) is None


def test_oldest_of_too_many_sessions_ends(clock: Clock) -> None:
    sessions = Sessions(clock)
    tokens = [sessions.begin("viewer") for _ in range(65)]
    assert [sessions.role(token) for token in (tokens[0], tokens[1], tokens[-1])] == [None, "viewer", "viewer"]


def test_token_is_good_once_and_for_an_hour(clock: Clock) -> None:
    token = OneTimeToken(clock)
    assert not token.use("")
    first = token.renew()
    second = token.renew()
    assert not token.use(first)
    assert token.use(second)
    assert not token.use(second)
    third = token.renew()
    clock.now += HOUR
    assert not token.use(third)


def test_guesses_of_a_network_wait_longer_and_longer_up_to_a_minute(clock: Clock) -> None:
    throttle = Throttle(clock)
    waits = []
    for _ in range(14):
        waits.append(throttle.wait_s("192.0.2.1"))
        clock.now += waits[-1]
        throttle.failed("192.0.2.1")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert throttle.wait_s("192.0.2.2") == 0
    throttle.succeeded("192.0.2.1")
    assert throttle.wait_s("192.0.2.1") == 0


def test_guesses_of_many_networks_wait_a_second_each(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(30):
        throttle.failed(f"192.0.2.{number}")
    assert 0 < throttle.wait_s("198.51.100.1") <= 1
    clock.now += 1
    assert throttle.wait_s("198.51.100.1") == 0


def test_guesses_are_forgotten_in_time(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(10):
        throttle.failed("192.0.2.1")
    clock.now += 15 * 60
    assert throttle.wait_s("192.0.2.1") == 0


@pytest.mark.parametrize(("one", "other"), [("2001:db8::1", "2001:db8::ffff:2"), ("::ffff:192.0.2.1", "192.0.2.1")])
def test_addresses_of_one_client_count_as_one(one: str, other: str, clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(6):
        throttle.failed(one)
    assert throttle.wait_s(other) > 0
    assert throttle.wait_s("2001:db8:0:1::1") == 0


@given(st.lists(st.tuples(st.text(max_size=12), st.floats(0, 100)), max_size=60))
def test_wait_is_never_longer_than_a_minute(guesses: list[tuple[str, float]]) -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for client, pause in guesses:
        throttle.failed(client)
        clock.now += pause
        assert 0 <= throttle.wait_s(client) <= 60


def test_password_file_is_private_and_has_hashes_alone(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    write_password(path, "editor", "Bienen zählen")
    write_password(path, "viewer", "look at bees")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "look" not in path.read_text(encoding="ascii")
    passwords = read_passwords(path)
    assert passwords.role("Bienen zählen") == "editor"
    assert passwords.role("look at bees") == "viewer"
    assert passwords.role("look at bees ") is None
    assert passwords.role("x" * 100_000) is None
    write_password(path, "viewer", "Bienen zählen")
    assert read_passwords(path).role("Bienen zählen") == "editor"


def test_same_password_has_another_hash_each_time() -> None:
    assert hash_password("look at bees") != hash_password("look at bees")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257])
def test_password_of_other_length_is_refused(password: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 8 to 256"):
        write_password(tmp_path / "passwords", "editor", password)


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_password_file_of_others_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    write_password(path, "editor", "look at bees")
    path.chmod(mode)
    with pytest.raises(InputError, match="chmod 600"):
        read_passwords(path)


def test_invalid_password_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    good = f"editor {hash_password('look at bees')}"
    huge = good.replace("$16384$", "$1073741824$")  # which would take all memory
    path.touch(mode=0o600)
    words = st.sampled_from(["editor", "viewer", "root", " ", "$", "scrypt", "16384", "AAAA", "\n", "=", "ä", "\0"])

    @given(st.binary(max_size=200) | st.lists(words, max_size=12).map(lambda parts: "".join(parts).encode()))
    @example(b"")
    @example(huge.encode())
    @example(good.encode()[:-8])
    @example(good.replace("editor", "owner").encode())
    @example(f"{good}\n{'x' * 5000}".encode())
    def refused(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match="beeagent page password"):
            read_passwords(path)

    refused()
