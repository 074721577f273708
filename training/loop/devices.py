"""The devices and processes that a run has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from training.recipe.model import Precision, RecipeError

if TYPE_CHECKING:
    from accelerate import Accelerator

_PATIENCE = timedelta(hours=2)
"""Time that processes wait for the main one, which evaluates and saves alone."""


@contextmanager
def open_accelerator(precision: Precision, *, cpu: bool = False) -> Iterator[Accelerator]:
    """The devices and processes of this run, from the environment that a launcher has set.

    The settings of ``accelerate launch`` choose DDP or FSDP (version 2); the recipe the precision.
    """
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    accelerator = Accelerator(
        cpu=cpu or not torch.accelerator.is_available(),
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )
    try:
        if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
            raise RecipeError("FSDP: only version 2; set fsdp_version: 2 in accelerate's config")
        yield accelerator
    finally:
        if torch.distributed.is_initialized():
            # Before the interpreter ends: gloo's threads abort a process that leaves them running.
            torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)  # the next run has its own
