"""Check a request against its model and turn it into complete settings."""

from __future__ import annotations

import math
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from engine.checkpoints.catalog import MIN_GUIDANCE, Catalog, ModelCard
from engine.checkpoints.errors import ModelLoadError, UnknownModelError
from engine.params import ClipParams, ResolvedParams
from engine.serving.backends import BackendRegistry, ModelBackend, Supports, default_backends
from engine.serving.errors import RequestError
from engine.serving.media.input_images import (
    MAX_PIXELS,
    START_SIDE,
    PictureError,
    decode_picture,
    fit_picture,
)

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 4000
"""Far more than a text encoder reads; keeps a request from filling a file's metadata."""

_SIZES_LISTED = 6
_DECODING = threading.BoundedSemaphore(2)
"""A small file can be a large picture: so many may be unpacked at a time in this process."""
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(ClipParams):
    """Parameters of a clip with its job's id and owner, for `Engine.submit`.

    Attributes:
        job_id: 1 to 64 letters, digits, hyphens and underscores.
        owner: on whose share of the devices it counts ("": on one that all such requests share).
        weight: an owner of twice the weight, > 0, has twice the share.
        begun: a process that ended had begun it already, so it goes first.

    Raises:
        RequestError: id or weight are not allowed.
    """

    job_id: str
    owner: str = ""
    weight: float = 1.0
    begun: bool = False

    def __post_init__(self) -> None:
        check_job(self.job_id, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """Complete parameters beside the model that they were checked against.

    `unread` and `unread_negative` are the ends of the prompts that the model does not read, None
    if it reads all of them or nobody has measured them.
    """

    model: ModelCard
    params: ResolvedParams
    unread: str | None = None
    unread_negative: str | None = None

    @property
    def playback_fps(self) -> int:
        """Frames per second of the finished file."""
        return self.model.playback_fps or self.params.fps


def check_job(job_id: str, weight: float) -> None:
    """Raise RequestError if a job's id cannot be a file's name, or its weight is not above 0."""
    if not _JOB_ID.fullmatch(job_id):
        raise RequestError(
            "job_id", "A job's name is 1 to 64 letters, digits, hyphens and underscores."
        )
    if not (math.isfinite(weight) and weight > 0):
        raise RequestError("weight", f"weight must be a number above 0, not {weight}.")


def resolve(
    params: ClipParams,
    catalog: Catalog,
    *,
    max_image_pixels: int = MAX_PIXELS,
    backends: BackendRegistry | None = None,
) -> ResolvedSettings:
    """Check parameters against their model and fill in the defaults; a seed is drawn if need be.

    A model that is installed but broken has no ranges to check against; the job then fails when it
    runs, which tells the user about the model rather than about a range.

    Raises:
        RequestError: names the field and what is allowed.
    """
    try:
        card = catalog.get(params.model)
        backend = (backends or default_backends()).of(card)
    except (UnknownModelError, ModelLoadError) as error:
        raise RequestError("model", str(error)) from None
    supports = backend.supports(card)
    prompt = _checked_prompt(params.prompt)
    seed = random_seed() if params.seed is None else params.seed
    _check_whole("seed", seed, 0, MAX_SEED)
    width, height = _size(params, card)
    resolved = ResolvedParams(
        model=card.name,
        prompt=prompt,
        negative_prompt=_checked_negative(params.negative_prompt, card, supports),
        seed=seed,
        fps=_fps(params.fps, card, supports),
        steps=_within("steps", params.steps, card.default_steps, 1, card.max_steps, card),
        guidance=_guidance(params.guidance, card),
        width=width,
        height=height,
        num_frames=_within(
            "num_frames", params.num_frames, card.num_frames, 1, card.num_frames, card
        ),
    )
    if card.ready:
        backend.check(card, resolved)
    image = _picture(params.image, card, supports, width, height, max_image_pixels)
    return ResolvedSettings(model=card, params=replace(resolved, image=image))


def measure_prompts(settings: ResolvedSettings, backend: ModelBackend) -> ResolvedSettings:
    """Return the settings with the ends of both prompts that the model does not read."""
    card, params = settings.model, settings.params
    if not card.ready:
        return settings
    return replace(
        settings,
        unread=backend.unread(card, params.prompt),
        unread_negative=backend.unread(card, params.negative_prompt or ""),
    )


def reword(settings: ResolvedSettings, prompt: str) -> ResolvedSettings:
    """Return resolved parameters with another prompt; nothing else is looked at again.

    Raises:
        RequestError: the prompt is empty or too long.
    """
    params = replace(settings.params, prompt=_checked_prompt(prompt))
    return replace(settings, params=params, unread=None)


def random_seed() -> int:
    """Return a seed, 0 to 2^32-1."""
    return secrets.randbelow(MAX_SEED + 1)


def _checked_prompt(prompt: str) -> str:
    stripped = prompt.strip()
    if not stripped:
        raise RequestError("prompt", "The prompt is empty. Say what the clip should show.")
    if len(stripped) > MAX_PROMPT_CHARS:
        raise RequestError(
            "prompt",
            f"The prompt has {len(stripped)} characters; at most {MAX_PROMPT_CHARS} are allowed.",
        )
    return stripped


def _checked_negative(negative: str | None, card: ModelCard, supports: Supports) -> str | None:
    stripped = (negative or "").strip()
    if stripped and card.ready and not supports.negative_prompt:
        raise RequestError(
            "negative_prompt", f"{card.name} takes no negative prompt: leave it out."
        )
    if len(stripped) > MAX_PROMPT_CHARS:
        raise RequestError(
            "negative_prompt",
            f"The negative prompt has {len(stripped)} characters; "
            f"at most {MAX_PROMPT_CHARS} are allowed.",
        )
    return stripped or None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_whole(field: str, value: int, low: int, high: int, of: str = "") -> None:
    if not _is_whole(value) or not low <= value <= high:
        raise RequestError(
            field, f"{field} must be a whole number from {low} to {high}{of}, not {value}."
        )


def _within(
    field: str, value: int | None, default: int, low: int, high: int, card: ModelCard
) -> int:
    if value is None:
        return default
    if card.ready:
        _check_whole(field, value, low, high, f" for {card.name}")
    return value


def _fps(value: int | None, card: ModelCard, supports: Supports) -> int:
    if value is None:
        return card.default_fps
    if card.ready and not supports.fps and value != card.default_fps:
        raise RequestError(
            "fps", f"{card.name} has {card.default_fps} frames per second: leave fps out."
        )
    if card.ready and not (_is_whole(value) and value in card.fps_choices):
        allowed = ", ".join(map(str, card.fps_choices))
        raise RequestError("fps", f"fps must be one of {allowed} for {card.name}, not {value}.")
    return value


def _guidance(value: float | None, card: ModelCard) -> float:
    if value is None:
        return card.default_guidance
    valid = not isinstance(value, bool) and math.isfinite(value)
    if card.ready and not (valid and MIN_GUIDANCE <= value <= card.max_guidance):
        raise RequestError(
            "guidance",
            f"guidance must be from {MIN_GUIDANCE:g} to {card.max_guidance:g} for {card.name}, "
            f"not {value}.",
        )
    return float(value)


def _size(params: ClipParams, card: ModelCard) -> tuple[int, int]:
    width = card.width if params.width is None else params.width
    height = card.height if params.height is None else params.height
    if card.ready and (width, height) not in card.sizes:
        raise RequestError("size", explain_sizes(card.name, card.sizes, (width, height)))
    return width, height


def explain_sizes(name: str, sizes: Sequence[Size], asked: Size) -> str:
    """Say which sizes a model makes instead of the one asked for; sizes are (width, height).

    The first of the sizes is the native one. Of many the nearest and the range are told.
    """
    width, height = asked
    if len(sizes) <= _SIZES_LISTED:
        allowed = ", ".join(f"{w}x{h}" for w, h in sizes)
        return f"The size must be {allowed} for {name}, not {width}x{height}."

    def distance(size: Size) -> tuple[float, int]:
        # Of ratios, so that twice as much and half as much are equally far.
        w, h = (math.log(max(side, 1)) for side in asked)
        return math.hypot(math.log(size[0]) - w, math.log(size[1]) - h), -size[0] * size[1]

    nearest = min(sizes, key=distance)
    sides = [side for size in sizes for side in size]
    pixels = max(w * h for w, h in sizes)
    return (
        f"{name} makes no clips of {width}x{height}; the nearest size that works is "
        f"{nearest[0]}x{nearest[1]}. Its own is {sizes[0][0]}x{sizes[0][1]}; all of its "
        f"{len(sizes)} sizes have sides from {min(sides)} to {max(sides)} in multiples of "
        f"{math.gcd(*sides)}, and at most {pixels} pixels."
    )


def _picture(
    given: bytes | Image.Image | None,
    card: ModelCard,
    supports: Supports,
    width: int,
    height: int,
    max_pixels: int,
) -> Image.Image | None:
    if given is None:
        if card.wants_image:
            raise RequestError("image", f"{card.name} starts from a picture: give it one.")
        return None
    if not supports.image:
        raise RequestError(
            "image", f"{card.name} makes clips from words alone: leave the picture out."
        )
    picture = given if isinstance(given, Image.Image) else _decoded(given, max_pixels)
    return fit_picture(picture, width, height) if card.ready else picture


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    try:
        with _DECODING:
            return decode_picture(data, max_pixels=max_pixels, short_side=START_SIDE)
    except PictureError as error:
        raise RequestError("image", str(error)) from error
