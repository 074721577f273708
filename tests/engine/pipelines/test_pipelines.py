"""Both pipelines through their call, with small real parts."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline, VideoPipeline
from engine.pipelines.sampling import Condition, Guidance, guided_prediction
from engine.schedulers import make_scheduler

CALL: dict[str, Any] = {
    "height": 16,
    "width": 24,
    "num_frames": 3,
    "num_inference_steps": 4,
    "guidance_scale": 3.0,
    "eta": 1.0,
    "fps": 8,
}
LATENTS = (1, 4, 3, 4, 6)


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def picture(seed: int, height: int = 30, width: int = 40) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def close(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def differ(one: Tensor, two: Tensor) -> bool:
    return float((one - two).abs().max()) > 1e-3


@pytest.mark.parametrize("sampler", ["ddim-original", "dpm++2m", "dpm++sde", "lcm"])
def test_a_batch_equals_single_runs(t2v: TextToVideoPipeline, sampler: str) -> None:
    t2v.scheduler = make_scheduler(sampler, 0.7)
    call = CALL | {"eta": 1.0 if sampler == "ddim-original" else 0.0}
    prompts, negatives, rates = ["a cat", "two dogs", ""], ["bad", "", "blue"], [8, 16, 24]
    together = t2v(
        prompts, negative_prompt=negatives, generator=seeds(1, 2, 3), **call | {"fps": rates}
    ).frames
    assert together.shape == (3, 3, 3, 16, 24)
    assert together.dtype == torch.float32
    assert 0 <= float(together.min()) < float(together.max()) <= 1
    for index in range(3):
        alone = t2v(
            prompts[index],
            negative_prompt=negatives[index],
            generator=torch.Generator().manual_seed(index + 1),
            **call | {"fps": rates[index]},
        ).frames
        close(together[index], alone[0])
    assert differ(together[0], together[1])


def test_a_batch_of_pictures_equals_single_runs(i2v: ImageToVideoPipeline) -> None:
    pictures = [picture(1), picture(2)]
    together = i2v(["a cat", "a dog"], pictures, generator=seeds(1, 2), **CALL).frames
    for index, prompt in enumerate(["a cat", "a dog"]):
        alone = i2v(prompt, pictures[index], generator=seeds(index + 1), **CALL).frames
        close(together[index], alone[0])
    swapped = i2v(["a cat", "a dog"], pictures[::-1], generator=seeds(1, 2), **CALL).frames
    assert differ(together, swapped)


def test_one_picture_and_one_negative_prompt_serve_the_whole_batch(
    i2v: ImageToVideoPipeline,
) -> None:
    one = i2v(["a", "b"], picture(1), negative_prompt="dog", generator=seeds(1, 2), **CALL).frames
    two = i2v(
        ["a", "b"],
        torch.stack([picture(1), picture(1)]),
        negative_prompt=["dog", "dog"],
        generator=seeds(1, 2),
        **CALL | {"fps": [8, 8]},
    ).frames
    close(one, two)


def test_several_clips_of_one_prompt(t2v: TextToVideoPipeline) -> None:
    frames = t2v(
        ["a cat", "a dog"], num_videos_per_prompt=2, generator=seeds(1, 2, 3, 4), **CALL
    ).frames
    expected = t2v(["a cat", "a cat", "a dog", "a dog"], generator=seeds(1, 2, 3, 4), **CALL).frames
    close(frames, expected)


@pytest.mark.parametrize("with_image", [False, True])
def test_the_doubled_batch_equals_two_forwards(
    t2v: TextToVideoPipeline, i2v: ImageToVideoPipeline, with_image: bool
) -> None:
    unet = (i2v if with_image else t2v).unet
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def condition() -> Condition:
        return Condition(randn(2, 77, 16), randn(2, 4, 16) if with_image else None)

    positive, negative = condition(), condition()
    latents, fps = randn(2, *LATENTS[1:]), torch.tensor([8, 24])

    def forward(condition: Condition) -> Tensor:
        return unet(
            latents,
            torch.tensor([500, 500]),
            condition.text,
            fps=fps,
            image_hidden_states=condition.image,
        ).sample

    with torch.no_grad():
        expected = forward(negative) + 7.5 * (forward(positive) - forward(negative))
        guided = guided_prediction(unet, Guidance(7.5, positive, negative), fps)(latents, 500)
        plain = guided_prediction(unet, Guidance(1.0, positive, None), fps)(latents, 500)
        close(guided, expected)
        close(plain, forward(positive))


def test_guidance_of_one_runs_the_prompt_alone(t2v: TextToVideoPipeline) -> None:
    batches: list[int] = []
    hook = t2v.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    call = CALL | {"guidance_scale": 1.0, "eta": 0.0}
    one = t2v("a cat", negative_prompt="dog", generator=seeds(1), **call).frames
    assert batches == [1] * 4
    assert torch.equal(one, t2v("a cat", negative_prompt="cow", generator=seeds(1), **call).frames)
    batches.clear()
    t2v("a cat", generator=seeds(1), **CALL)
    assert batches == [2] * 4
    hook.remove()


def test_text_is_encoded_once_for_a_clip(t2v: TextToVideoPipeline) -> None:
    calls: list[int] = []
    layer = t2v.unet.mid_in.spatial.cross_attentions()[0].to_k
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    t2v("a cat", generator=seeds(1), **CALL)
    hook.remove()
    assert calls == [1]


def test_latents_go_in_and_come_out(t2v: TextToVideoPipeline) -> None:
    start = torch.randn(LATENTS, generator=torch.Generator().manual_seed(5))
    call = CALL | {"eta": 0.0}
    drawn = t2v("a cat", generator=seeds(5), output_type="latent", **call).frames
    for name in ("height", "width", "num_frames"):
        call.pop(name)
    given = t2v("a cat", latents=start, output_type="latent", **call).frames
    assert given.shape == LATENTS
    assert torch.equal(drawn, given)
    frames = t2v("a cat", latents=start, **call).frames
    decoded = torch.stack(
        [t2v.vae.decode(given[:, :, index] / 0.2).sample / 2 + 0.5 for index in range(3)], dim=1
    )
    close(frames, decoded.clamp(0, 1))


def test_noise_is_replayed(t2v: TextToVideoPipeline) -> None:
    generator = torch.Generator().manual_seed(9)
    start = torch.randn(LATENTS, generator=generator)
    noise = torch.stack([torch.randn(LATENTS, generator=generator) for _ in range(4)])
    replayed = t2v("a cat", latents=start, variance_noise=noise, **CALL).frames
    assert torch.equal(replayed, t2v("a cat", generator=seeds(9), **CALL).frames)
    assert differ(replayed, t2v("a cat", latents=start, variance_noise=-noise, **CALL).frames)
    without = CALL | {"eta": 0.0}
    ignored = t2v("a cat", latents=start, variance_noise=noise, **without).frames
    assert torch.equal(ignored, t2v("a cat", latents=start, **without).frames)


def test_embeddings_stand_for_texts_and_pictures(i2v: ImageToVideoPipeline) -> None:
    expected = i2v("a cat", picture(1), negative_prompt="dog", generator=seeds(1), **CALL).frames
    text, negative_text = i2v._text_features("a cat", "dog", None, None, 1, True)
    clip = i2v._clip_shape(3, 16, 24, None)
    image, negative_image = i2v._image_features(picture(1), None, None, 1, True, clip)
    assert image is not None
    assert image.shape == (1, 4, 16)
    given = i2v(
        prompt_embeds=text,
        negative_prompt_embeds=negative_text,
        image_embeds=image,
        negative_image_embeds=negative_image,
        generator=seeds(1),
        **CALL,
    ).frames
    assert torch.equal(given, expected)


def test_what_is_said_matters(i2v: ImageToVideoPipeline) -> None:
    def frames(prompt: str = "a cat", seed: int = 1, image: int = 1, **changes: Any) -> Tensor:
        result: Tensor = i2v(prompt, picture(image), generator=seeds(seed), **CALL | changes).frames
        return result

    base = frames()
    assert torch.equal(base, frames())
    for other in (
        frames("dogs"),
        frames(seed=2),
        frames(image=2),
        frames(fps=24),
        frames(guidance_scale=5.0),
        frames(eta=0.0),
        frames(negative_prompt="dog"),
    ):
        assert differ(base, other)


def test_the_callback_sees_each_step_and_may_change_the_latents(t2v: TextToVideoPipeline) -> None:
    seen: list[tuple[int, int, set[str]]] = []
    last: dict[str, Tensor] = {}

    def watch(pipeline: VideoPipeline, index: int, t: int, tensors: dict[str, Tensor]) -> None:
        assert pipeline is t2v
        seen.append((index, t, set(tensors)))
        last.update(tensors)

    latents = t2v(
        "a cat",
        generator=seeds(1),
        output_type="latent",
        callback_on_step_end=watch,
        callback_on_step_end_tensor_inputs=["latents", "pred_original_sample"],
        **CALL,
    ).frames
    both = {"latents", "pred_original_sample"}
    assert seen == [(0, 751, both), (1, 501, both), (2, 251, both), (3, 1, both)]
    assert torch.equal(last["latents"], latents)
    assert float((last["pred_original_sample"] - latents).abs().mean()) < 0.2

    def clear(_: Any, index: int, __: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"])} if index == 3 else {}

    cleared = t2v(
        "a cat", generator=seeds(1), output_type="latent", callback_on_step_end=clear, **CALL
    ).frames
    assert not cleared.any()


def test_what_the_callback_raises_ends_the_call(t2v: TextToVideoPipeline) -> None:
    steps: list[int] = []

    def stop(_: Any, index: int, *__: Any) -> None:
        steps.append(index)
        if index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        t2v("a cat", callback_on_step_end=stop, **CALL)
    assert steps == [0, 1]


def test_one_pipeline_serves_many_at_once(t2v: TextToVideoPipeline) -> None:
    t2v.scheduler = make_scheduler("unipc", 0.7)  # keeps the history of its run
    configuration, parts = dict(t2v.config), set(vars(t2v))
    calls = [CALL | {"num_inference_steps": 3 + index, "eta": 0.0} for index in range(4)]

    def run(index: int) -> Tensor:
        frames: Tensor = t2v(f"cat {index}", generator=seeds(index), **calls[index]).frames
        return frames

    alone = [run(index) for index in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for index, frames in enumerate(pool.map(run, range(4))):
            close(frames, alone[index])
    assert set(vars(t2v)) == parts
    assert dict(t2v.config) == configuration


def test_output_types_show_the_same_frames(t2v: TextToVideoPipeline) -> None:
    frames = t2v("a cat", generator=seeds(1), **CALL).frames
    array = t2v("a cat", generator=seeds(1), output_type="np", **CALL).frames
    clips = t2v("a cat", generator=seeds(1), output_type="pil", **CALL).frames
    assert np.array_equal(array, frames.permute(0, 1, 3, 4, 2).numpy())
    assert [len(clip) for clip in clips] == [3]
    assert isinstance(clips[0][0], Image.Image)
    assert clips[0][0].size == (24, 16)
    assert np.abs(np.asarray(clips[0][1]) / 255 - array[0, 1]).max() <= 0.5 / 255 + 1e-6


def test_saving_and_loading_gives_the_same_frames(
    t2v: TextToVideoPipeline, saved_t2v: Path
) -> None:
    loaded = TextToVideoPipeline.from_pretrained(saved_t2v)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config["text_layer"] == "penultimate"
    expected = t2v("a cat, 2 dogs!", generator=seeds(1), **CALL).frames
    close(loaded("a cat, 2 dogs!", generator=seeds(1), **CALL).frames, expected)


def test_saving_and_loading_keeps_the_image_parts(
    i2v: ImageToVideoPipeline, tmp_path: Path
) -> None:
    i2v.scheduler = make_scheduler(
        "dpm++2m", prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    call = CALL | {"eta": 0.0}
    i2v.save_pretrained(tmp_path)
    loaded = ImageToVideoPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    expected = i2v("a cat", picture(1), generator=seeds(1), **call).frames
    close(loaded("a cat", picture(1), generator=seeds(1), **call).frames, expected)


def test_the_text_layer_is_a_choice(t2v: TextToVideoPipeline) -> None:
    last = TextToVideoPipeline(**t2v.components, text_layer="last")
    last.set_progress_bar_config(disable=True)
    one = t2v("a cat", generator=seeds(1), **CALL).frames
    assert differ(one, last("a cat", generator=seeds(1), **CALL).frames)
    with pytest.raises(ValueError, match="text_layer: one of last, penultimate"):
        TextToVideoPipeline(**t2v.components, text_layer="first")


def test_frames_that_share_all_noise_differ_by_the_network_alone(
    t2v: TextToVideoPipeline, tmp_path: Path
) -> None:
    shared = TextToVideoPipeline(**t2v.components, shared_noise=1.0)
    shared.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["shared_noise"] == 1.0
    still = {"num_inference_steps": 2, "guidance_scale": 1.0, "height": 16, "width": 16}
    noise = []
    for pipe in (t2v, shared):
        unet = pipe.unet
        calls: list[Tensor] = []
        handle = unet.register_forward_pre_hook(lambda _m, args, calls=calls: calls.append(args[0]))
        pipe("a cat", **still)
        handle.remove()
        noise.append(calls[0])
    own, common = noise
    assert differ(own[:, :, 0], own[:, :, 1])
    assert torch.equal(common[:, :, 0], common[:, :, 1])
    with pytest.raises(ValueError, match="shared_noise: 0 to 1"):
        TextToVideoPipeline(**t2v.components, shared_noise=1.5)


def test_half_precision_networks_keep_the_latents_in_full_precision(
    t2v: TextToVideoPipeline,
) -> None:
    full = t2v("a cat", generator=seeds(1), output_type="latent", **CALL).frames
    t2v.to(torch.bfloat16)
    half = t2v("a cat", generator=seeds(1), output_type="latent", **CALL).frames
    assert half.dtype == torch.float32
    assert 0 < float((half - full).abs().mean()) < 0.2


def test_offloaded_weights_are_fetched_before_every_use(t2v: TextToVideoPipeline) -> None:
    """Offloading moves a network when its hook is called; keys and values come before the steps."""
    events: list[str] = []

    class Fetch(ModelHook):
        def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            events.append("fetch")
            return args, kwargs

    add_hook_to_module(t2v.unet, Fetch())
    layer = t2v.unet.mid_in.spatial.cross_attentions()[0].to_k
    layer.register_forward_pre_hook(lambda *_: events.append("keys"))
    t2v("a cat", generator=seeds(1), **CALL)
    assert events == ["fetch", "keys", *["fetch"] * 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": None}, "prompt: give either prompt or prompt_embeds"),
        ({"prompt_embeds": torch.zeros(1, 77, 16)}, "prompt: give either"),
        ({"prompt": []}, "prompt: a text or a list of texts"),
        ({"prompt": ["a", 1]}, "prompt: a text or a list of texts"),
        ({"prompt": 3}, "prompt: a text or a list of texts"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt: one, or one for each of 1 prompts"),
        ({"negative_prompt": []}, "negative_prompt: a text or a list"),
        (
            {"negative_prompt": "a", "negative_prompt_embeds": torch.zeros(1, 77, 16)},
            "negative_prompt: give it or",
        ),
        ({"negative_prompt_embeds": torch.zeros(1, 76, 16)}, r"negative_prompt_embeds: shape"),
        ({"prompt": None, "prompt_embeds": torch.zeros(1, 77, 8)}, "prompt_embeds: shape"),
        ({"height": 20}, "height: a positive multiple of 8 pixels, got 20"),
        ({"height": None}, "height: a positive multiple of 8"),
        ({"width": 0}, "width: a positive multiple of 8"),
        ({"width": 24.0}, "width: a positive multiple of 8"),
        ({"num_frames": 0}, "num_frames: a whole number of at least 1"),
        ({"num_inference_steps": 0}, "num_inference_steps: 1 to 1000"),
        ({"num_inference_steps": 9}, "num_inference_steps: the original sampler cannot run 9"),
        ({"guidance_scale": -1.0}, "guidance_scale: a finite number of at least 0"),
        ({"guidance_scale": float("inf")}, "guidance_scale: a finite number"),
        ({"guidance_scale": "12"}, "guidance_scale: a finite number"),
        ({"eta": 2.0}, "eta: 0 to 1"),
        ({"eta": "much"}, "eta: 0 to 1"),
        ({"eta": float("nan")}, "eta: 0 to 1"),
        ({"fps": -1}, "fps: whole numbers from 0 to 240"),
        ({"fps": 7.5}, "fps: whole numbers"),
        ({"fps": True}, "fps: whole numbers"),
        ({"fps": "8"}, "fps: whole numbers"),
        ({"fps": [8, 16]}, "fps: one, or one for each of 1 prompts"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt: a whole number of at least 1"),
        ({"decode_chunk_size": 0}, "decode_chunk_size: a whole number of at least 1"),
        ({"generator": seeds(1, 2)}, "generator: a torch.Generator, or a list of 1"),
        ({"generator": 7}, "generator: a torch.Generator"),
        ({"latents": torch.zeros(1, 4, 3, 4, 5)}, r"latents: shape \[1, 4, 3, 4, 6\]"),
        ({"latents": torch.zeros(4, 3, 4, 6)}, "latents: a float tensor"),
        ({"latents": np.zeros(LATENTS)}, "latents: a float tensor .* got ndarray"),
        ({"variance_noise": torch.zeros(LATENTS)}, r"variance_noise: shape \[4, 1, 4, 3, 4, 6\]"),
        ({"variance_noise": torch.zeros(3, *LATENTS)}, r"variance_noise: shape \[4, 1, 4, 3, 4"),
        ({"variance_noise": [torch.zeros(LATENTS)] * 4}, "variance_noise: a tensor .* got list"),
        ({"output_type": "mp4"}, "output_type: one of pt, latent, pil, np"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "callback_on_step_end_tensor_inputs"),
        ({"image": torch.zeros(3, 8, 8)}, "image: None, for this model"),
        ({"image_embeds": torch.zeros(1, 4, 16)}, "image: None, for this model"),
    ],
)
def test_a_wrong_argument_is_named(
    t2v: TextToVideoPipeline, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        t2v(**{"prompt": "a cat", **CALL, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "image: give either image or image_embeds"),
        ({"image_embeds": torch.zeros(1, 4, 16)}, "image: give either"),
        ({"image": [picture(1), picture(2)]}, "image: one, or one for each of 1 prompts"),
        ({"image": "cat.png"}, "image: a PIL image"),
        ({"image": None, "image_embeds": torch.zeros(1, 4, 8)}, "image_embeds: shape"),
        ({"negative_image_embeds": torch.zeros(4, 16)}, "negative_image_embeds: shape"),
        ({"negative_image_embeds": torch.zeros(2, 4, 16)}, "negative_image_embeds: one"),
    ],
)
def test_a_wrong_picture_is_named(
    i2v: ImageToVideoPipeline, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        i2v(**{"prompt": "a cat", "image": picture(1), **CALL, **changes})


def test_numbers_may_come_out_of_numpy(t2v: TextToVideoPipeline) -> None:
    numbers = {
        key: value if key == "guidance_scale" else np.array(value)[()]
        for key, value in CALL.items()
    }
    expected = t2v("a cat", generator=seeds(1), **CALL).frames
    assert torch.equal(t2v("a cat", generator=seeds(1), **numbers).frames, expected)


def test_a_step_count_that_does_not_divide_the_schedule_has_its_own_number_of_steps(
    t2v: TextToVideoPipeline,
) -> None:
    """Seven steps are eight with the original sampler, and its noise must be eight entries."""
    call = CALL | {"num_inference_steps": 7}
    with pytest.raises(ValueError, match=r"variance_noise: shape \[8, 1, 4, 3, 4, 6\]"):
        t2v("a cat", variance_noise=torch.zeros(7, *LATENTS), **call)
    steps: list[int] = []
    t2v("a cat", callback_on_step_end=lambda _, __, t, ___: steps.append(t), **call)
    assert steps == [995, 853, 711, 569, 427, 285, 143, 1]


def test_a_foreign_scheduler_is_refused(t2v: TextToVideoPipeline) -> None:
    t2v.scheduler = DDIMScheduler()
    with pytest.raises(TypeError, match="make_scheduler"):
        t2v("a cat", **CALL)
