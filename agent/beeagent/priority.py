"""Which threads give way when cores are short."""

import os
import sys
import threading
from contextlib import suppress

_NICENESS = 10  # of 0 to 19: about a tenth of the processor time of a thread at 0, when both want it


def give_way() -> None:
    """Let the calling thread wait where others want its core.

    For the threads that feed the model: on a machine whose cores the model needs, a frame read beside an inference
    makes one of the model's threads wait, and with it all the others. The feeding fits into the gaps that every
    inference leaves. Works on Linux, where threads have priorities of their own; elsewhere it does nothing. Never
    raises the priority of a thread that is lower already, and never fails: a thread works at any priority.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid even this
            if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
