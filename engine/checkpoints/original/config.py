"""The architecture of an original checkpoint, in the words of the released yaml files.

What those files leave to the defaults of the public code (the size of OpenCLIP's ViT-H-14, the
projection, the rescale) is stated here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CLIP_VOCABULARY = 49408
CLIP_POSITIONS = 77

Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rescale(_Part):
    """The rescale of the clean latent: from 1 to ``scale_b`` over ``mid_step`` timesteps."""

    use_scale: bool = False
    scale_a: Annotated[float, Field(ge=1, le=1)] = 1.0
    scale_b: Annotated[float, Field(gt=0, le=1)] = 0.3
    mid_step: Annotated[int, Field(ge=2)] = 400
    fix_scale_bug: bool = False
    """True if the stored buffer ends with the schedule; otherwise it is ``mid_step`` longer."""

    @property
    def target(self) -> float | None:
        """Final value of the rescale, None if there is none."""
        return self.scale_b if self.use_scale else None


class Encoder(_Part):
    """``ddconfig`` of the autoencoder: 4 latent channels a pixel of 8 x 8, or alike."""

    double_z: Literal[True] = True
    z_channels: Count
    resolution: Count
    in_channels: Count
    out_ch: Count
    ch: Annotated[int, Field(ge=32, multiple_of=32)]
    ch_mult: Annotated[tuple[Count, ...], Field(min_length=1)]
    num_res_blocks: Count
    attn_resolutions: Annotated[tuple[int, ...], Field(max_length=0)] = ()
    dropout: float = 0.0


class FirstStage(_Part):
    """The autoencoder. ``monitor`` and ``lossconfig`` concern its training and are not used."""

    embed_dim: Count
    ddconfig: Encoder
    monitor: Any = None
    lossconfig: Any = None

    @model_validator(mode="after")
    def _same_channels(self) -> Self:
        if self.embed_dim != self.ddconfig.z_channels:
            raise ValueError(f"embed_dim {self.embed_dim} must equal ddconfig.z_channels")
        return self


class TextTowerConfig(_Part):
    """OpenCLIP's text transformer; the defaults are those of ViT-H-14."""

    context_length: Count = CLIP_POSITIONS
    vocab_size: Annotated[int, Field(ge=3)] = CLIP_VOCABULARY
    width: Count = 1024
    heads: Count = 16
    layers: Count = 24

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        return self


class VisionTowerConfig(_Part):
    """OpenCLIP's vision transformer; the defaults are those of ViT-H-14."""

    image_size: Count = 224
    layers: Count = 32
    width: Count = 1280
    head_width: Count = 80
    patch_size: Count = 14

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.head_width:
            raise ValueError(f"head_width {self.head_width} must divide width {self.width}")
        return self


class TextConditioner(_Part):
    """The text encoder and which of its layers the UNet was trained on."""

    layer: Literal["penultimate", "last"] = "penultimate"
    text_cfg: TextTowerConfig = TextTowerConfig()
    embed_dim: Count = 1024
    freeze: bool = True


class Projection(_Part):
    """The projection net of image-to-video."""

    dim: Count = 1024
    depth: Count = 4
    dim_head: Count = 64
    heads: Count = 12
    num_queries: Count = 16
    embedding_dim: Count = 1280
    output_dim: Count = 1024
    ff_mult: Count = 4


class OriginalConfig(_Part):
    """A whole model.

    ``image_size`` is the native (height, width) of the latents; None where it is not known.
    ``image_encoder_text_leftover`` describes the unused text tower that the released
    image-to-video file keeps beside the vision tower; of its transformer nothing is stored.
    """

    unet_config: dict[str, Any]
    first_stage_config: FirstStage
    cond_stage_config: TextConditioner = TextConditioner()
    rescale: Rescale = Rescale()
    linear_start: Annotated[float, Field(gt=0, lt=1)] = 0.00085
    linear_end: Annotated[float, Field(gt=0, lt=1)] = 0.012
    timesteps: Annotated[int, Field(ge=2)] = 1000
    scale_factor: Annotated[float, Field(gt=0)] = 0.18215
    uncond_type: Literal["empty_seq"] = "empty_seq"
    image_encoder: VisionTowerConfig | None = None
    image_encoder_text_leftover: TextTowerConfig | None = None
    image_projection: Projection | None = None
    image_size: tuple[Count, Count] | None = None

    @property
    def wants_image(self) -> bool:
        """True if the model starts from a picture."""
        return self.image_encoder is not None

    @model_validator(mode="after")
    def _text_is_clip(self) -> Self:
        text = self.cond_stage_config.text_cfg
        if text.context_length != CLIP_POSITIONS:
            raise ValueError(f"text_cfg.context_length must be {CLIP_POSITIONS}")
        if text.vocab_size < CLIP_VOCABULARY:
            raise ValueError(f"text_cfg.vocab_size must be at least {CLIP_VOCABULARY}")
        return self

    @model_validator(mode="after")
    def _image_parts_fit(self) -> Self:
        attends = bool(self.unet_config.get("use_image_attention", False))
        given = (self.image_encoder is not None, self.image_projection is not None)
        if given != (attends, attends):
            raise ValueError(
                "image_encoder and image_projection belong to a unet_config with "
                "use_image_attention, and only to such a one"
            )
        if self.image_encoder is None or self.image_projection is None:
            return self
        if self.image_projection.embedding_dim != self.image_encoder.width:
            raise ValueError("image_projection.embedding_dim must equal image_encoder.width")
        if self.image_projection.output_dim != self.cond_stage_config.text_cfg.width:
            raise ValueError("image_projection.output_dim must equal text_cfg.width")
        return self
