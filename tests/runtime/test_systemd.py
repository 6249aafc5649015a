"""Notifications to systemd, at a real datagram socket."""

import os
from pathlib import Path

import pytest
from beeagent.runtime.systemd import ServiceNotifier
from hypothesis import given
from hypothesis import strategies as st
from support.notify_socket import notify_socket


@pytest.mark.parametrize("abstract", [True, False])
def test_messages_follow_the_protocol(abstract: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    with notify_socket(None if abstract else tmp_path) as systemd:
        notifier = ServiceNotifier.from_environment({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000000"})
        notifier.ready()
        notifier.status("online: 12 frames/s")
        notifier.alive()
        notifier.alive()
        notifier.stopping()
        assert systemd.all_so_far() == [
            "READY=1",
            "STATUS=online: 12 frames/s",
            "WATCHDOG=1",
            "WATCHDOG=1",
            "STOPPING=1",
        ]
    assert notifier.watchdog_s == 3


def test_repeated_message_is_sent_once() -> None:
    with notify_socket() as systemd:
        notifier = ServiceNotifier(systemd.address)
        for text in ("a", "a", "b"):
            notifier.ready()
            notifier.status(text)
            notifier.stopping()
        assert systemd.all_so_far() == ["READY=1", "STATUS=a", "STOPPING=1", "STATUS=b"]


def test_without_watchdog_no_alive_message_is_sent() -> None:
    with notify_socket() as systemd:
        ServiceNotifier(systemd.address).alive()
        assert systemd.all_so_far() == []


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_listener_nothing_happens(environment: dict[str, str]) -> None:
    notifier = ServiceNotifier.from_environment(environment)
    notifier.ready()
    notifier.status("fine")
    notifier.alive()
    notifier.stopping()
    assert notifier.watchdog_s is None


def test_message_that_could_not_be_sent_is_sent_later(tmp_path: Path) -> None:
    notifier = ServiceNotifier(str(tmp_path / "notify"))
    notifier.ready()
    notifier.status("fine")
    with notify_socket(tmp_path) as systemd:
        notifier.ready()
        notifier.status("fine")
        assert systemd.all_so_far() == ["READY=1", "STATUS=fine"]


def test_listener_that_does_not_read_does_not_block() -> None:
    with notify_socket() as systemd:
        notifier = ServiceNotifier(systemd.address, watchdog_s=1)
        for _ in range(10_000):  # far more than a socket keeps
            notifier.alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_time_is_read_from_environment(environment: dict[str, str], seconds: float | None) -> None:
    assert ServiceNotifier.from_environment(environment).watchdog_s == seconds


@given(st.text(max_size=500))
def test_no_status_text_injects_another_message(text: str) -> None:
    with notify_socket() as systemd:
        ServiceNotifier(systemd.address).status(text)
        for message in systemd.all_so_far():
            assert message.startswith("STATUS=")
            assert "\n" not in message
