"""Base of text-to-video and image-to-video: the whole call except the picture."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from engine.models import VideoUNet
from engine.pipelines.inputs import (
    ClipShape,
    check_generators,
    check_numbers,
    check_prompt_embeds,
    check_tensor,
    clip_shape,
    fps_tensor,
    prompt_list,
    repeat_to,
)
from engine.pipelines.latents import decode_latents
from engine.pipelines.output import OutputType, VideoPipelineOutput, to_array, to_pictures
from engine.pipelines.sampling import Condition, Guidance, OnStep, denoise, guided_prediction
from engine.pipelines.text import TextLayer, encode_text, tokenise
from engine.schedulers import Generators, SchedulerStep, VideoScheduler, clip_noise

StepCallback = Callable[[Any, int, int, dict[str, Tensor]], Mapping[str, Tensor] | None]


class VideoPipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """Base of the pipelines: a diffusers pipeline that many callers may use at the same time.

    Nothing of a call is kept on the pipeline, and each call has its own scheduler. LoRAs are loaded
    and weighted by the methods of diffusers: ``load_lora_weights``, ``set_adapters``, ….
    """

    _callback_tensor_inputs = ("latents", "pred_original_sample")

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: VideoUNet
    scheduler: VideoScheduler

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        image: object = None,
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 12.0,
        eta: float = 0.0,
        fps: int | Sequence[int] | Tensor | None = None,
        *,
        num_videos_per_prompt: int = 1,
        generator: Generators | None = None,
        latents: Tensor | None = None,
        variance_noise: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        image_embeds: Tensor | None = None,
        negative_image_embeds: Tensor | None = None,
        output_type: OutputType = "pt",
        decode_chunk_size: int | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> VideoPipelineOutput:
        """Make one clip for each prompt.

        Args:
            prompt: what the clips show; one text or a list of ``B``.
            image: for image-to-video the picture to animate, one or one for each prompt: a PIL
                image, a tensor ``[3, H, W]`` or ``[B, 3, H, W]`` (uint8, or float in [0, 1]), or a
                list of such.
            negative_prompt: what to steer away from; one or a list. None is the empty text.
            height: in pixels, a multiple of the autoencoder's and the UNet's downsampling; may be
                left out if ``latents`` are given. Likewise ``width``.
            width: see ``height``.
            num_frames: frames of a clip; None for as many as the network was trained on.
            num_inference_steps: steps of the scheduler.
            guidance_scale: strength of classifier-free guidance; at 1 only the prompt itself is
                computed, at half the cost.
            eta: noise of the steps, 0 to 1, for "ddim-original" and "ddim".
            fps: frame rate the motion is made for, one or one for each prompt; None for the
                network's default. Networks without frame-rate embedding do not react to it.
            num_videos_per_prompt: clips for each prompt.
            generator: one for all clips, or one for each clip: then a seed gives the same clip
                whatever the batch.
            latents: starting noise ``[B * num_videos_per_prompt, C, F, h, w]``.
            variance_noise: noise of the steps, ``[S, B * num_videos_per_prompt, C, F, h, w]``,
                first entry for the noisiest step; not used where the steps need none.
            prompt_embeds: text features ``[B, 77, D]`` instead of ``prompt``.
            negative_prompt_embeds: text features ``[B or 1, 77, D]`` for ``negative_prompt``.
            image_embeds: image tokens of the projection, ``[B or 1, N, D]``, ``N`` as it
                gives them, instead of ``image``.
            negative_image_embeds: image tokens to steer away from; None for those of mid grey.
            output_type: "pt", "latent", "np" or "pil", see `VideoPipelineOutput`.
            decode_chunk_size: frames decoded at once; smaller needs less memory. None for one large
                frame, or several small ones.
            callback_on_step_end: called as ``(pipeline, index, timestep, tensors)`` after each
                step; ``latents`` in the mapping it returns replace the latents. What it raises ends
                the call.
            callback_on_step_end_tensor_inputs: what the callback gets, of "latents" and
                "pred_original_sample" (the clean latents as far as they are known).

        Raises:
            ValueError: an argument that does not fit, or latents of a callback that do not; the
                message names it and the range.
            TypeError: the pipeline's scheduler is not one of `make_scheduler`.
        """
        check_numbers(
            guidance_scale=guidance_scale,
            num_videos_per_prompt=num_videos_per_prompt,
            decode_chunk_size=decode_chunk_size,
            output_type=output_type,
        )
        self._check_callback_inputs(callback_on_step_end_tensor_inputs)
        device: torch.device = self._execution_device
        clip = self._clip_shape(num_frames, height, width, latents)
        batch = self._batch_size(prompt, prompt_embeds)
        shape = clip.latents(batch * num_videos_per_prompt)
        check_tensor("latents", latents, shape)
        check_generators(generator, shape[0])
        rates = fps_tensor(fps, batch, num_videos_per_prompt, device)
        scheduler = self._scheduler_of_this_call(num_inference_steps)
        check_tensor("variance_noise", variance_noise, (len(scheduler.timesteps), *shape))
        scheduler.is_stochastic(eta)  # refuses an eta that does not fit

        guided = guidance_scale != 1
        try:
            texts = self._text_features(
                prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, batch, guided
            )
            images = self._image_features(
                image, image_embeds, negative_image_embeds, batch, guided, clip
            )
            positive, negative = (
                _condition(text, tokens, num_videos_per_prompt, device)
                for text, tokens in zip(texts, images, strict=True)
            )
            assert positive is not None
            guidance = Guidance(guidance_scale, positive, negative)
            if latents is None:
                latents = clip_noise(shape, generator, device, shared=self.config["shared_noise"])
            with self.progress_bar(total=len(scheduler.timesteps)) as progress:
                latents = denoise(
                    guided_prediction(self.unet, guidance, rates),
                    scheduler,
                    latents.to(device, torch.float32),
                    eta=eta,
                    generator=generator,
                    variance_noise=variance_noise,
                    on_step=self._on_step(
                        callback_on_step_end, callback_on_step_end_tensor_inputs, progress
                    ),
                )
            return VideoPipelineOutput(frames=self._finish(latents, output_type, decode_chunk_size))
        finally:
            self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]

    def _register_settings(self, text_layer: str, shared_noise: float) -> None:
        """Check and keep what the network was trained with, beside the components.

        Raises:
            ValueError: unknown text layer, or a share out of range.
        """
        if text_layer not in get_args(TextLayer):
            raise ValueError(
                f"text_layer: one of {', '.join(get_args(TextLayer))}, got {text_layer!r}"
            )
        if not 0 <= shared_noise <= 1:
            raise ValueError(f"shared_noise: 0 to 1, got {shared_noise}")
        self.register_to_config(  # type: ignore[no-untyped-call]
            text_layer=text_layer, shared_noise=shared_noise
        )

    @abstractmethod
    def _image_features(
        self,
        image: object,
        embeds: Tensor | None,
        negative_embeds: Tensor | None,
        batch: int,
        guided: bool,
        clip: ClipShape,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Image tokens ``[B, N, D]`` of the pictures and, if guided, of no picture."""

    @property
    def size_divisor(self) -> int:
        """Height and width of a clip must be multiples of this many pixels."""
        return self._vae_factor * self.unet.spatial_factor

    @property
    def _vae_factor(self) -> int:
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def _clip_shape(
        self, frames: int | None, height: int | None, width: int | None, latents: Tensor | None
    ) -> ClipShape:
        return clip_shape(
            frames=frames,
            height=height,
            width=width,
            latents=latents,
            default_frames=self.unet.config["temporal_length"],
            channels=self.unet.config["in_channels"],
            factor=self._vae_factor,
            divisor=self.size_divisor,
        )

    def _batch_size(self, prompt: str | Sequence[str] | None, embeds: Tensor | None) -> int:
        if (prompt is None) == (embeds is None):
            raise ValueError("prompt: give either prompt or prompt_embeds")
        check_prompt_embeds("prompt_embeds", embeds, self.unet.config["context_dim"])
        return len(prompt_list("prompt", prompt)) if embeds is None else len(embeds)

    def _scheduler_of_this_call(self, num_inference_steps: int) -> VideoScheduler:
        if not isinstance(self.scheduler, VideoScheduler):
            raise TypeError(
                "scheduler: one of engine.schedulers.make_scheduler, "
                f"got {type(self.scheduler).__name__}"
            )
        scheduler = self.scheduler.clone()
        scheduler.set_timesteps(num_inference_steps)
        return scheduler

    def _text_features(
        self,
        prompt: str | Sequence[str] | None,
        negative_prompt: str | Sequence[str] | None,
        embeds: Tensor | None,
        negative_embeds: Tensor | None,
        batch: int,
        guided: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Text features ``[B, 77, D]`` of the prompts and, if guided, of the negative ones."""
        if negative_prompt is not None and negative_embeds is not None:
            raise ValueError("negative_prompt: give it or negative_prompt_embeds, not both")
        width = self.unet.config["context_dim"]
        check_prompt_embeds("negative_prompt_embeds", negative_embeds, width)
        negatives = [""]
        if negative_prompt is not None:
            negatives = prompt_list("negative_prompt", negative_prompt)
        if embeds is None:
            embeds = self._encode(prompt_list("prompt", prompt))
        if not guided:
            return embeds, None
        if negative_embeds is not None:
            return embeds, repeat_to("negative_prompt_embeds", negative_embeds, batch)
        return embeds, repeat_to("negative_prompt", self._encode(negatives), batch)

    def _encode(self, prompts: list[str]) -> Tensor:
        layer: TextLayer = self.config["text_layer"]
        token_ids = tokenise(self.tokenizer, prompts).to(self._execution_device)
        return encode_text(self.text_encoder, token_ids, layer)

    def _check_callback_inputs(self, names: Sequence[str]) -> None:
        if unknown := [name for name in names if name not in self._callback_tensor_inputs]:
            known = ", ".join(self._callback_tensor_inputs)
            raise ValueError(
                f"callback_on_step_end_tensor_inputs: of {known}, got {', '.join(unknown)}"
            )

    def _on_step(
        self, callback: StepCallback | None, names: Sequence[str], progress: Any
    ) -> OnStep:
        """Tell the caller of each step, and take back the latents it may have changed."""

        def on_step(index: int, timestep: int, step: SchedulerStep) -> Tensor:
            latents = step.prev_sample
            if callback is not None:
                known = {"latents": latents, "pred_original_sample": step.pred_original_sample}
                tensors = {name: known[name] for name in names}
                latents = _changed_latents(callback(self, index, timestep, tensors), latents)
            progress.update()
            return latents

        return on_step

    def _finish(self, latents: Tensor, output_type: OutputType, chunk_size: int | None) -> Any:
        if output_type == "latent":
            return latents
        frames = decode_latents(self.vae, latents, chunk_size)
        if output_type == "pt":
            return frames
        return to_array(frames) if output_type == "np" else to_pictures(frames)


def _changed_latents(returned: object, latents: Tensor) -> Tensor:
    """The latents to go on with: those that a callback returned, else the ones it was shown."""
    if returned is None:
        return latents
    if not isinstance(returned, Mapping):
        raise ValueError(
            "callback_on_step_end: must return None or a mapping with latents, "
            f"got {type(returned).__name__}"
        )
    changed = returned.get("latents", latents)
    if changed is None:
        raise ValueError("latents of callback_on_step_end: a float tensor, got None")
    check_tensor("latents of callback_on_step_end", changed, latents.shape)
    return cast(Tensor, changed).to(latents)


def _condition(
    text: Tensor | None, image: Tensor | None, per_prompt: int, device: torch.device
) -> Condition | None:
    if text is None:
        return None
    text = text.to(device).repeat_interleave(per_prompt, dim=0)
    if image is not None:
        image = image.to(device).repeat_interleave(per_prompt, dim=0)
    return Condition(text, image)
