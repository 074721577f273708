"""An original checkpoint becomes a pipeline in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.checkpoints.original.clip import restore_positions
from engine.checkpoints.original.config import OriginalConfig
from engine.checkpoints.original.files import read_checkpoint
from engine.checkpoints.original.plan import make_plan
from engine.checkpoints.original.presets import parse_config
from engine.checkpoints.original.rules import Component
from engine.checkpoints.original.tokenizer import clip_tokenizer
from engine.pipelines import ImageToVideoPipeline, Pipeline, TextToVideoPipeline
from engine.schedulers import make_scheduler


def load_original(
    path: str | os.PathLike[str],
    config: str | Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Pipeline:
    """Load a checkpoint of the public VideoCrafter code, in evaluation mode.

    The weights are copied out of the mapped file one by one, so that the peak is the pipeline
    itself, and the file may be changed or deleted afterwards.

    Args:
        path: ``model.ckpt``, a safetensors file of the same tensors, or a folder with one of them.
        config: a preset ("t2v-1024", "t2v-512", "i2v-512", "t2v-512-v2"), or the architecture in
            the words of the released yaml files (see `OriginalConfig`).
        device: where the weights go.
        dtype: number format of all weights.

    Raises:
        OriginalConfigError: no such preset, or a configuration that cannot be; names the key.
        OriginalCheckpointError: the file is missing, damaged, unsafe, or does not hold exactly the
            tensors of the configuration; names the tensors. Both are also ``ValueError`` and
            ``ModelLoadError``.
        torch.OutOfMemoryError, MemoryError: the weights do not fit.
    """
    plan = make_plan(parse_config(config))
    tensors = read_checkpoint(Path(path))
    plan.check(str(path), tensors)
    for component in plan.components.values():
        _fill(component, tensors, device, dtype)
    pipeline = assemble(
        plan.config, {name: component.module for name, component in plan.components.items()}
    )
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def assemble(config: OriginalConfig, networks: Mapping[str, nn.Module]) -> Pipeline:
    """Put the networks into the pipeline that the configuration means, with its own sampler."""
    scheduler = make_scheduler(
        "ddim-original",
        rescale_to=config.rescale.target,
        num_train_timesteps=config.timesteps,
        beta_start=config.linear_start,
        beta_end=config.linear_end,
        rescale_steps=config.rescale.mid_step,
    )
    kind: Any = ImageToVideoPipeline if config.wants_image else TextToVideoPipeline
    pipeline: Pipeline = kind(
        **networks,
        tokenizer=clip_tokenizer(),
        scheduler=scheduler,
        text_layer=config.cond_stage_config.layer,
    )
    return pipeline


def _fill(
    component: Component,
    released: Mapping[str, Tensor],
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Give a network its weights in place of those on the meta device."""
    module: Any = component.module  # Any: to() takes a memory format, which torch's types miss
    copies = {
        name: tensor.to(device, dtype, copy=True).contiguous()
        for name, tensor in component.tensors(released).items()
    }
    module.load_state_dict(copies, assign=True)
    restore_positions(module)
    # As the features lie, like `load_pipeline`: convolutions else copy their weights at every call.
    module.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
