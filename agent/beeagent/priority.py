"""Which threads give way when cores are short."""

import os
import sys
import threading

_NICENESS = 10  # of 0 to 19: about a tenth of the processor time of a thread at 0, when both want it


def give_way() -> None:
    """Let the calling thread wait where others want its core.

    For the threads that feed the model: on a machine whose cores the model needs, a frame read beside an inference
    makes one of the model's threads wait, and with it all the others. The feeding fits into the gaps that every
    inference leaves. Works on Linux, where threads have priorities of their own; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
