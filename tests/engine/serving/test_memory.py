"""Offloading, tiling and slicing on real pipelines: same frames, weights where they should be.

There is no second device here, so one is imitated: main memory and "the device" are both the CPU,
but weights that have been moved away are not a number until they are fetched again. The hooks that
fetch and return them are those of diffusers and accelerate.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from PIL import Image
from torch import Tensor, nn

from engine.checkpoints import Catalog, load_pipeline
from engine.models import layers
from engine.pipelines import VideoPipeline, decode_latents
from engine.serving.backends.options import ignored_options, usable_options
from engine.serving.backends.videocrafter import apply_options
from engine.settings import ModelOptions

CPU = torch.device("cpu")
HERE = torch.device("cpu:0")  # what accelerate calls the device; "cpu" is where weights wait
CALL: dict[str, Any] = {
    "height": 32,
    "width": 32,
    "num_inference_steps": 2,
    "guidance_scale": 3.0,
    "negative_prompt": "dark",
    "fps": 8,
}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortcuts that the network takes on a CPU only read weights that hooks cannot see."""
    monkeypatch.setattr(layers, "_FEW_POSITIONS", 0, raising=False)


@pytest.fixture(params=["tiny_t2v", "tiny_i2v"])
def make(request: pytest.FixtureRequest) -> Callable[[], VideoPipeline]:
    folder: Path = request.getfixturevalue(request.param)
    card = Catalog({"tiny": folder}).get("tiny")
    return lambda: load_pipeline(card)


def frames_of(pipeline: VideoPipeline, **changes: Any) -> Tensor:
    if "image_encoder" in pipeline.components:
        changes["image"] = Image.linear_gradient("L").convert("RGB")
    made = pipeline(
        "a red ball", generator=torch.Generator().manual_seed(3), **(CALL | changes)
    ).frames
    assert isinstance(made, Tensor)
    assert bool(torch.isfinite(made).all())
    return made


class Away:
    """Keeps the weights of modules while they are away."""

    def __init__(self) -> None:
        self.kept: dict[Tensor, Tensor] = {}
        self.most_here = 0
        self._all: set[Tensor] = set()

    def take(self, tensors: Iterator[Tensor]) -> None:
        for tensor in tensors:
            self._all.add(tensor)
            if tensor not in self.kept and tensor.is_floating_point():
                self.kept[tensor] = tensor.data
                tensor.data = torch.full_like(tensor.data, torch.nan)

    def bring(self, tensors: Iterator[Tensor]) -> None:
        for tensor in tensors:
            if tensor in self.kept:
                tensor.data = self.kept.pop(tensor)
        here = sum(tensor.nbytes for tensor in self._all if tensor not in self.kept)
        self.most_here = max(self.most_here, here)

    def all_gone(self, pipeline: VideoPipeline) -> bool:
        """Whether no network has any weight here."""
        networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
        return all(tensor in self.kept for part in networks for tensor in part.parameters())


def tensors_of(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
        yield from module.buffers()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Away:
    """Group offloading between the imitated memories."""
    away = Away()
    monkeypatch.setattr(
        ModuleGroup, "_offload_to_memory", lambda group: away.take(tensors_of(*group.modules))
    )
    monkeypatch.setattr(
        ModuleGroup, "_onload_from_memory", lambda group: away.bring(tensors_of(*group.modules))
    )
    return away


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Away:
    """Moves of whole networks between the imitated memories."""
    away = Away()
    whole = nn.Module.to

    def to(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if args and args[0] in ("cpu", CPU):
            away.take(tensors_of(network))
        elif args and args[0] == HERE:
            away.bring(tensors_of(network))
        return whole(network, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "to", to)
    return away


def weight_bytes(pipeline: VideoPipeline) -> int:
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    return sum(tensor.nbytes for tensor in tensors_of(*networks))


def test_layers_that_fetch_their_own_weights_make_the_same_frames(
    make: Callable[[], VideoPipeline], groups: Away
) -> None:
    expected = frames_of(make())
    pipeline = make()
    total = weight_bytes(pipeline)
    apply_options(pipeline, ModelOptions(offload="group"), CPU)
    assert sum(tensor.nbytes for tensor in groups.kept) > 0.9 * total
    for _ in range(2):
        assert torch.equal(frames_of(pipeline), expected)
        assert sum(tensor.nbytes for tensor in groups.kept) > 0.9 * total
    assert groups.most_here < 0.2 * total


def test_networks_that_are_fetched_whole_make_the_same_frames(
    make: Callable[[], VideoPipeline], request: pytest.FixtureRequest
) -> None:
    expected = frames_of(make())
    pipeline = make()
    away: Away = request.getfixturevalue("moves")
    apply_options(pipeline, ModelOptions(offload="model"), CPU)
    for _ in range(2):
        assert away.all_gone(pipeline)
        assert torch.equal(frames_of(pipeline), expected)
    assert away.all_gone(pipeline)


def test_a_preview_between_two_steps_disturbs_no_offloaded_network(
    make: Callable[[], VideoPipeline], request: pytest.FixtureRequest
) -> None:
    expected = frames_of(make())
    pipeline = make()
    request.getfixturevalue("moves")
    apply_options(pipeline, ModelOptions(offload="model"), CPU)
    decoded: list[Tensor] = []

    def decode(pipe: VideoPipeline, _: int, __: int, tensors: dict[str, Tensor]) -> None:
        decoded.append(decode_latents(pipe.vae, tensors["latents"]))

    assert torch.equal(frames_of(pipeline, callback_on_step_end=decode), expected)
    assert [bool(frames.isfinite().all()) for frames in decoded] == [True, True]


def test_the_imitation_shows_weights_that_nobody_fetched(
    make: Callable[[], VideoPipeline], groups: Away
) -> None:
    pipeline = make()
    apply_options(pipeline, ModelOptions(offload="group"), CPU)
    weight = pipeline.unet.conv_in.weight
    assert bool(weight.isnan().all())
    groups.bring(tensors_of(pipeline.unet))
    assert bool(weight.isfinite().all())


def test_an_offloaded_pipeline_gives_its_memory_back(
    make: Callable[[], VideoPipeline],
) -> None:
    pipeline = make()
    apply_options(pipeline, ModelOptions(offload="group"), CPU)
    gone = weakref.ref(pipeline.unet)
    del pipeline
    gc.collect()
    assert gone() is None


def test_slicing_decodes_frame_by_frame_and_changes_nothing(
    make: Callable[[], VideoPipeline],
) -> None:
    expected = frames_of(make())
    pipeline = make()
    apply_options(pipeline, ModelOptions(vae_slicing=True), CPU)
    decoded: list[int] = []
    pipeline.vae.decoder.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))
    assert torch.allclose(frames_of(pipeline), expected, atol=1e-6)
    assert decoded == [1] * 4


def test_tiling_decodes_large_frames_in_parts(make: Callable[[], VideoPipeline]) -> None:
    pipeline = make()
    apply_options(pipeline, ModelOptions(vae_tiling=True), CPU)
    vae = pipeline.vae
    sides: list[int] = []
    vae.decoder.register_forward_pre_hook(lambda _, args: sides.append(max(args[0].shape[-2:])))
    tile = 128  # of 4 x 4 pixels each, whatever size the autoencoder was trained on
    vae.decode(torch.randn(1, 4, tile, tile))
    assert sides == [tile]
    latents = torch.randn(1, 4, tile + 32, tile)
    tiled = vae.decode(latents).sample
    assert len(sides) > 2
    assert max(sides) <= tile
    vae.disable_tiling()
    whole = vae.decode(latents).sample
    assert tiled.shape == whole.shape
    # Not the same: each tile is normalised by itself.
    assert 0 < float((tiled - whole).abs().mean()) < float(whole.std())


def test_sliced_attention_agrees(make: Callable[[], VideoPipeline]) -> None:
    expected = frames_of(make())
    pipeline = make()
    apply_options(pipeline, ModelOptions(attention="sliced"), CPU)
    assert torch.allclose(frames_of(pipeline), expected, atol=1e-4)


def test_compiling_is_left_to_the_first_use(make: Callable[[], VideoPipeline]) -> None:
    pipeline = make()
    assert pipeline.unet._compiled_call_impl is None
    apply_options(pipeline, ModelOptions(compile=True), CPU)
    assert pipeline.unet._compiled_call_impl is not None


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_without_a_gpu_offloading_and_compiling_are_left_out(device: str) -> None:
    wanted = ModelOptions(offload="group", vae_tiling=True, attention="sliced")
    assert usable_options(wanted, device) == ModelOptions(vae_tiling=True, attention="sliced")
    assert ignored_options(wanted, device) == ("offload",)
    assert ignored_options(ModelOptions(compile=True), device) == ("compile",)
    assert ignored_options(ModelOptions(vae_slicing=True), device) == ()
    assert usable_options(wanted, "cuda:1") == wanted
    assert ignored_options(wanted, "cuda:1") == ()
