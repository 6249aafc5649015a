"""The devices and processes that share a run: Keras' data parallelism, on JAX."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
from beeagent.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The processes that share a run, and the index of this one.

    Attributes:
        index: index of this process, from 0. The first one reports, and writes the run's folder.
        count: number of processes.
        devices: number of devices of all processes.
    """

    index: int = 0
    count: int = 1
    devices: int = 1

    @property
    def is_first(self) -> bool:
        """True if this process reports and writes."""
        return self.index == 0

    def agree_on_step(self, step: int) -> None:
        """Check that all processes begin at the same step.

        Raises:
            InputError: they do not, because each has a folder of its own.
        """
        if self.count == 1:
            return
        import jax  # noqa: PLC0415 - only where it is the backend
        from jax.experimental import multihost_utils  # noqa: PLC0415

        steps = sorted(set(np.ravel(multihost_utils.process_allgather(np.int32(step))).tolist()))
        if len(steps) > 1:
            jax.distributed.shutdown()  # waits for the others; otherwise the end of the first process aborts them
            raise InputError(
                f"the processes begin at steps {', '.join(map(str, steps))}: give all the same --out, on a shared disk"
            )

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            from jax.experimental import multihost_utils  # noqa: PLC0415 - only where it is the backend

            multihost_utils.sync_global_devices("beeagent")


@contextmanager
def distributed(*, devices: int | None, batch_size: int) -> Iterator[Processes]:
    """Replicate variables over devices and split batches among them, inside the block.

    Several processes, one per machine, find each other by Keras' own variables: `KERAS_DISTRIBUTION_JOB_ADDRESSES`,
    `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`.

    Args:
        devices: number of devices; None for 1, or with several processes for all that these have.
        batch_size: images per step, of all devices together.

    Yields:
        This process among all.

    Raises:
        InputError: the backend or the batch cannot be distributed, or there are fewer devices.
    """
    several = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "1") != "1"
    if not several and devices in (None, 1):
        yield Processes()
        return
    if (backend := keras.backend.backend()) != "jax":
        raise InputError(f"several devices with Keras' backend {backend}: set KERAS_BACKEND=jax")
    import jax  # noqa: PLC0415 - only where it is the backend

    if several and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    found = keras.distribution.list_devices()
    wanted = len(found) if devices is None else devices
    if wanted > len(found):
        raise InputError(f"devices is {wanted}: JAX has {len(found)} here ({', '.join(found)})")
    if several and wanted < len(found):
        raise InputError(f"devices is {wanted}: several processes use all of theirs ({len(found)}); leave it out")
    if batch_size % wanted:
        raise InputError(f"batch size {batch_size}: give a multiple of {wanted}, the number of devices")
    with keras.distribution.DataParallel(devices=found[:wanted]).scope():
        yield Processes(index=jax.process_index(), count=jax.process_count(), devices=wanted)
