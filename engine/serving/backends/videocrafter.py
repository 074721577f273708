"""VideoCrafter: text-to-video and image-to-video networks in a folder of diffusers' layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor

from engine.checkpoints.catalog import ModelCard, current_revision
from engine.checkpoints.errors import ModelLoadError
from engine.checkpoints.folder.weights import (
    WeightInspector,
    read_json_object,
)
from engine.checkpoints.loading.load import load_pipeline, load_scheduler
from engine.params import ResolvedParams
from engine.pipelines import VideoPipeline, decode_latents
from engine.serving.backends.base import (
    BeforePart,
    ModelBackend,
    NonFiniteError,
    OnStep,
    Supports,
)
from engine.serving.backends.clip_prompts import ClipPromptMeter
from engine.serving.backends.diffusers_memory import pipeline_bytes, place_pipeline, weight_bytes
from engine.serving.backends.options import choose_dtype
from engine.serving.cancellation import Check
from engine.serving.errors import RequestError
from engine.settings import ModelOptions

TILE_PIXELS: Final = 512

_USUAL_CHANNELS: Final = 320
_PIXELS_A_POSITION: Final = 8 * 8
_COPIES: Final = 32
_BYTES: Final = 4


class VideoCrafterBackend(ModelBackend):
    """The models of VideoCrafter1, and others of the same networks."""

    def __init__(self) -> None:
        self._inspector = WeightInspector()
        self._prompts = ClipPromptMeter()

    @property
    def family(self) -> str:
        """The name of the family."""
        return "videocrafter"

    def describe(self, name: str, folder: Path) -> ModelCard | None:
        """Return None: the catalogue itself describes the folders of this family."""
        return None

    def revision(self, card: ModelCard) -> str:
        """Return the revision of weights, settings and LoRAs."""
        return current_revision(card, self._inspector)

    def supports(self, card: ModelCard) -> Supports:
        """A picture is for the image-to-video models."""
        return Supports(
            image=card.wants_image, fps=True, negative_prompt=True, batches=True, lora=True
        )

    def check(self, card: ModelCard, params: ResolvedParams) -> None:
        """Refuse numbers of steps that the sampler cannot run."""
        try:
            scheduler = load_scheduler(card)
        except ModelLoadError:
            return  # the job fails over it, where the operator reads why
        try:
            scheduler.set_timesteps(params.steps)
        except ValueError as error:
            reason = str(error).removeprefix("num_inference_steps: ")
            raise RequestError("steps", f"{card.name}: {reason}.") from error

    def unread(self, card: ModelCard, text: str) -> str | None:
        """Return what comes after the 77 tokens that CLIP reads."""
        return self._prompts.unread(card, text)

    def weight_bytes(self, card: ModelCard, device: str, options: ModelOptions) -> int:
        """Return the number of weights times the bytes of one."""
        return weight_bytes(card, choose_dtype(device, options.precision))

    def clip_bytes(self, card: ModelCard, params: ResolvedParams) -> int:
        """Return a cautious guess from the features of the network's first level.

        The UNet of t2v-1024 in float32 was seen to take 3.4 GB beside its weights for 16 frames of
        1024 x 576 pixels on a CPU: 18 times the features of its first level (320 channels for each
        of 147,456 positions of the latent). A GPU may compute in larger parts: the guess is 32
        times, in float32 whatever the format, and twice that with guidance.
        """
        try:
            config = read_json_object(card.path / "unet" / "config.json")
        except ModelLoadError:
            config = {}
        width = config.get("model_channels")
        channels = width if isinstance(width, int) else _USUAL_CHANNELS
        positions = params.num_frames * params.width * params.height / _PIXELS_A_POSITION
        halves = 2 if params.guidance != 1 else 1
        return int(positions * halves * channels * _COPIES * _BYTES)

    def load(
        self, card: ModelCard, device: str, options: ModelOptions, before_part: BeforePart
    ) -> VideoCrafterModel:
        """Load the networks, on the CPU if their weights are to be offloaded."""
        dtype = choose_dtype(device, options.precision)
        first = "cpu" if options.offload != "none" else device
        pipeline = load_pipeline(card, device=first, dtype=dtype, before_part=before_part)
        apply_options(pipeline, options, torch.device(device))
        return VideoCrafterModel(pipeline)


class VideoCrafterModel:
    """A pipeline on a device; see `VideoModel`. Its clips are latents [1, 4, F, h, w]."""

    def __init__(self, pipeline: VideoPipeline) -> None:
        self.pipeline = pipeline
        self._bytes = pipeline_bytes(pipeline)

    @property
    def bytes(self) -> int:
        """Size of the weights."""
        return self._bytes

    def configure(self, options: ModelOptions) -> None:
        """Switch attention and the way of decoding."""
        set_switches(self.pipeline, options)

    def run(self, batch: Sequence[ResolvedParams], on_step: OnStep) -> Sequence[Tensor]:
        """Sample all clips in one call of the pipeline.

        Every clip has its own generator on the CPU, so it begins from the same noise whatever
        device it is made on and whatever company it is in. What else it depends on is rounding: a
        batch adds up in another order than a single clip, where the library for matrix products
        chooses so.
        """
        shared = batch[0]
        # No list where nobody steers away from anything: the empty text is then encoded once.
        negative = [params.negative_prompt or "" for params in batch]

        def on_step_end(_: Any, index: int, __: int, tensors: dict[str, Tensor]) -> None:
            on_step(min(index + 1, shared.steps), _each(tensors["pred_original_sample"]))

        output = self.pipeline(
            [params.prompt for params in batch],
            image=None if shared.image is None else [params.image for params in batch],
            negative_prompt=negative if any(negative) else None,
            height=shared.height,
            width=shared.width,
            num_frames=shared.num_frames,
            num_inference_steps=shared.steps,
            guidance_scale=shared.guidance,
            eta=self.pipeline.scheduler.default_eta,
            fps=[params.fps for params in batch],
            generator=[torch.Generator("cpu").manual_seed(params.seed) for params in batch],
            output_type="latent",
            callback_on_step_end=on_step_end,
            callback_on_step_end_tensor_inputs=("pred_original_sample",),
        )
        latents: Tensor = output.frames
        return _each(latents)

    def decode(
        self, clip: Tensor, check: Check, *, low_memory: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Decode frame by frame, or several small ones at once."""
        if not bool(torch.isfinite(clip).all()):
            raise NonFiniteError("the sampled latents are not finite")
        if low_memory:
            _decode_in_tiles(self.pipeline.vae)
            self.pipeline.vae.enable_slicing()
        chunk = 1 if low_memory else None
        return _to_bytes(decode_latents(self.pipeline.vae, clip, chunk, before_chunk=check)[0])

    def preview(self, clip: Tensor) -> Image.Image:
        """Decode the middle frame."""
        middle = clip.shape[2] // 2
        frame = decode_latents(self.pipeline.vae, clip[:1, :, middle : middle + 1])[0, 0]
        pixels = (frame * 255).round().to(torch.uint8).cpu()
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    def release(self) -> None:
        """Send offloaded weights that the decoding has fetched back."""
        self.pipeline.maybe_free_model_hooks()  # type: ignore[no-untyped-call]


def apply_options(pipeline: VideoPipeline, options: ModelOptions, device: torch.device) -> None:
    """Put options into effect and see to it that the pipeline computes on the device.

    Args:
        pipeline: a loaded one; on the CPU, if weights are to be offloaded.
        options: those that the device has a use for, see `usable_options`.
        device: to compute on.
    """
    set_switches(pipeline, options)
    place_pipeline(pipeline, options.offload, device)
    if options.compile:
        pipeline.unet.compile()


def set_switches(pipeline: VideoPipeline, options: ModelOptions) -> None:
    """Turn on or off what can be changed on a pipeline that is loaded: attention and decoding."""
    pipeline.unet.use_attention(options.attention)
    if options.vae_tiling:
        _decode_in_tiles(pipeline.vae)
    else:
        pipeline.vae.disable_tiling()
    if options.vae_slicing:
        pipeline.vae.enable_slicing()
    else:
        pipeline.vae.disable_slicing()


def _decode_in_tiles(vae: AutoencoderKL) -> None:
    """Decode in tiles of 512 pixels. diffusers takes the size of the training pictures.

    Every tile is normalised by itself, so small ones would change the picture visibly.
    """
    vae.enable_tiling()
    vae.tile_sample_min_size = TILE_PIXELS
    vae.tile_latent_min_size = TILE_PIXELS // 2 ** (len(vae.config["block_out_channels"]) - 1)


def _each(latents: Tensor) -> list[Tensor]:
    """Return the latents [1, 4, F, h, w] of each clip."""
    return [latents[index : index + 1] for index in range(len(latents))]


def _to_bytes(frames: Tensor) -> npt.NDArray[np.uint8]:
    """[F, 3, H, W] in [0, 1] to [F, H, W, 3], uint8."""
    if not bool(torch.isfinite(frames).all()):
        raise NonFiniteError("the decoded frames are not finite")
    rounded = (frames.float() * 255).round().clamp(0, 255).to(torch.uint8)
    result: npt.NDArray[np.uint8] = rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result
