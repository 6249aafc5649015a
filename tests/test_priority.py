"""Threads that feed the model give way to it."""

import os
import sys
import threading
from pathlib import Path

import pytest
from beeagent.priority import give_way
from support.beeagent_process import running_agent, tiny_model


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_a_thread_gives_way_and_the_others_stay_as_they_are() -> None:
    seen: list[int] = []

    def work() -> None:
        give_way()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [max(10, before)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_a_thread_that_has_a_lower_priority_keeps_it() -> None:
    seen: list[int] = []
    lower = max(15, os.getpriority(os.PRIO_PROCESS, 0))

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lower)
        give_way()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [lower]


@pytest.mark.skipif(sys.platform != "linux", reason="nice and setpriv are Linux's")
def test_agent_at_the_lowest_priority_processes_frames(tmp_path: Path) -> None:
    """As an ordinary user, who may lower a priority and never raise it: root is left without that right, too."""
    ordinary = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice") if os.geteuid() == 0 else ()
    with running_agent(
        "--camera", "synthetic:160x120", *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout",
        "--frames", "3", folder=tmp_path, prefix=(*ordinary, "nice", "-n", "19"),
    ) as agent:  # fmt: skip
        assert len(agent.messages(3)) == 3
        assert agent.end() == 0, agent.errors
