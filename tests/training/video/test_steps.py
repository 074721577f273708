"""One step of training on real files: what reaches the UNet, what is dropped, what learns."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel

from engine.models import VideoUNet
from engine.pipelines.images import clip_pixels, unconditional_pixels
from engine.pipelines.text import encode_text
from tests.training.video.studio import PROJECTION, Studio
from training.data.joint import is_picture_step
from training.errors import TrainingError
from training.loop import distributed
from training.recipe.model import DiffusionStage, ImageToVideoStage, RecipeError, load_recipe
from training.stages import make_task
from training.stages.batches import GradAccumCounter, VideoBatch
from training.stages.conditioning import PictureCondition, draw_one_kind_each
from training.stages.image_to_video import ImageToVideoTask
from training.stages.text_to_video import TextToVideoTask, split_temporal

PAPER = ("t2v-256", "t2v-512", "t2v-1024", "i2v-map", "i2v-tune")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def text_to_video(studio: Studio, **changes: Any) -> TextToVideoTask:
    plan = {k: changes.pop(k) for k in ("accumulate", "batch_size") if k in changes}
    stage = {"kind": "text-to-video", "initialise": str(studio.models), **changes}
    task = make_task(studio.recipe("step", stage=stage, **plan))
    assert isinstance(task, TextToVideoTask)
    return task


@pytest.fixture
def image_to_video(studio: Studio) -> Iterator[ImageToVideoTask]:
    torch.manual_seed(0)
    unet = VideoUNet(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1, 2),
        num_head_channels=16,
        context_dim=32,
    )
    unet.save_pretrained(studio.folder / "base" / "unet")
    stage = {
        "kind": "image-to-video",
        "start": studio.folder / "base",
        "trains": "mapping",
        "condition_frame": "random",
        **PROJECTION,
    }
    task = make_task(studio.recipe("animate", stage=stage))
    assert isinstance(task, ImageToVideoTask)
    with closing(task):
        yield task


def test_a_picture_step_leaves_temporal_gradients_absent(studio: Studio) -> None:
    with closing(text_to_video(studio, data=studio.data(share=1.0))) as task:
        task.parameter_groups()
        task.loss(rng(), 0).backward()
        temporal, other = split_temporal(task.model.unet)
        assert all(p.grad is None for p in temporal)
        assert all(p.grad is not None for p in other)
    with closing(text_to_video(studio, data=studio.data(share=0.0))) as task:
        task.loss(rng(), 0).backward()
        temporal, _ = split_temporal(task.model.unet)
        assert all(p.grad is not None for p in temporal)
        assert any(p.grad is not None and p.grad.any() for p in temporal)


def test_pictures_come_at_the_share_of_the_recipe_and_carry_label_0(studio: Studio) -> None:
    with closing(text_to_video(studio, data=studio.data(share=0.25))) as task:
        batches = [task.source.batch(rng(), step) for step in range(12)]
    pictures = [batch for batch in batches if batch.pictures]
    assert len(pictures) == 3
    assert all(len(batch) == 4 and batch.latents.shape[2] == 1 for batch in pictures)
    assert all(not batch.fps.any() for batch in pictures)
    clips = [batch for batch in batches if not batch.pictures]
    assert all(len(batch) == 2 and batch.latents.shape[2] == 4 for batch in clips)
    # 24 fps over a stride of 1 to 3, moved by up to a tenth
    labels = torch.cat([batch.fps for batch in clips])
    assert labels.min() >= 24 / 3 * 0.9
    assert labels.max() <= 24 * 1.1
    assert len(labels.unique()) > 10


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_show_their_share_of_pictures(name: str) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe.stage, DiffusionStage)
    data = recipe.stage.data
    assert data is not None
    steps = range(recipe.optimisation.steps)
    pictures = sum(is_picture_step(step, data.picture_share) for step in steps)
    assert pictures == int(len(steps) * data.picture_share)
    if name != "i2v-map":  # which says why it sees more of them
        clip = recipe.optimisation.batch_size
        samples = {"pictures": pictures * clip * 16, "clips": (len(steps) - pictures) * clip}
        assert 0.9 < samples["pictures"] / samples["clips"] < 1.1


@pytest.mark.parametrize(
    ("name", "steps", "batch", "size", "start"),
    [
        ("t2v-256", 80_000, 256, (256, 256), None),
        ("t2v-512", 136_000, 128, (512, 320), "runs/t2v-256/model"),
        ("t2v-1024", 45_000, 64, (1024, 576), "runs/t2v-512/model"),
    ],
)
def test_the_text_to_video_recipes_are_the_papers(
    name: str, steps: int, batch: int, size: tuple[int, int], start: str | None
) -> None:
    recipe = load_recipe(name)
    stage: Any = recipe.stage
    assert (recipe.optimisation.steps, recipe.optimisation.batch_size) == (steps, batch)
    assert (stage.data.resolution.width, stage.data.resolution.height) == size
    assert (None if stage.start is None else str(stage.start)) == start
    assert stage.text_lr_scale == 0


def test_buckets_reach_the_unet(studio: Studio) -> None:
    shapes: Counter[tuple[int, ...]] = Counter()
    with closing(text_to_video(studio)) as task:
        task.model.unet.register_forward_pre_hook(
            lambda _module, inputs: shapes.update([tuple(inputs[0].shape[-2:])])
        )
        with torch.no_grad():
            for step in range(8):
                task.loss(rng(step), step)
    assert (8, 8) in shapes  # of the square clips
    assert any(width > height for height, width in shapes)  # of those twice as wide


def test_processes_draw_different_samples(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        with closing(text_to_video(studio)) as task:
            batches = [task.source.batch(rng(), step) for step in range(4)]
        assert {len(batch) for batch in batches} == {1}  # its half of two
        seen.append([(batch.captions, batch.fps.tolist()) for batch in batches])
    assert all(first != second for first, second in zip(*seen, strict=True))


def test_passes_of_a_step_see_different_samples_of_one_kind(studio: Studio) -> None:
    data = studio.data(share=0.5)
    with closing(text_to_video(studio, data=data, accumulate=2, batch_size=4)) as task:
        steps = [[task.source.batch(rng(), step) for _ in range(2)] for step in range(4)]
        with pytest.raises(RuntimeError, match="more than its 2 passes"):
            task.source.batch(rng(), 3)
    for first, second in steps:
        assert first.pictures == second.pictures
        assert len(first) == len(second) == 2
    clips = [(b.captions, b.fps.tolist()) for step in steps for b in step if not b.pictures]
    assert len(clips) == 4
    assert all(clips.count(batch) == 1 for batch in clips)


def test_a_step_is_a_function_of_its_number(studio: Studio) -> None:
    data = studio.data(share=0.5)
    with closing(text_to_video(studio, data=data)) as task:
        torch.manual_seed(3)
        passed = [task.source.batch(rng(), step) for step in range(3)][-1]
    with closing(text_to_video(studio, data=data)) as task:
        resumed = task.source.batch(rng(), 2)
    assert passed.captions == resumed.captions
    assert torch.equal(passed.fps, resumed.fps)


def test_passes_begin_anew_with_each_step() -> None:
    passes = GradAccumCounter(3)
    assert [passes.number(7, 5) for _ in range(3)] == [15, 16, 17]
    assert passes.number(8, 6) == 18


def test_a_dropped_caption_is_the_empty_text(studio: Studio) -> None:
    with closing(text_to_video(studio)) as task, torch.no_grad():
        batch = VideoBatch(
            torch.zeros(2, 4, 1, 8, 8), ("a red circle", "a blue square"), torch.zeros(2)
        )
        kept_and_lost = task.text.of_batch(batch, torch.tensor([False, True]))
        expected = task.text.of(["a red circle", ""])
    assert torch.equal(kept_and_lost, expected)
    assert expected[1].any()


def test_all_captions_are_dropped_where_the_share_is_one(studio: Studio) -> None:
    with closing(text_to_video(studio, caption_dropout=1.0)) as task:
        read: list[list[str]] = []
        whole = task.text.of
        task.text.of = lambda captions: read.append(list(captions)) or whole(captions)  # type: ignore[method-assign,func-returns-value]
        with torch.no_grad():
            task.loss(rng(), 0)
    assert read == [["", ""]]


def test_a_dropped_picture_is_mid_grey_through_tower_and_projection(
    image_to_video: ImageToVideoTask,
) -> None:
    task = image_to_video
    batch = task.source.batch(rng(), 0)
    condition: PictureCondition = task.picture
    assert batch.frame_pixels is not None
    with torch.no_grad():
        tokens = condition.of_batch(batch, [2, 1], torch.tensor([False, True]))
        grey = tokens_of(condition, unconditional_pixels(32))
        shown = tokens_of(condition, clip_pixels(batch.frame_pixels([2, 2])[:1], 32))
    assert torch.allclose(tokens[1:], grey, atol=1e-5)
    assert torch.allclose(tokens[:1], shown, atol=1e-5)
    assert grey.abs().mean() > 0.1
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-2)


def tokens_of(condition: PictureCondition, pixels: Tensor) -> Tensor:
    tokens: Tensor = condition.projection(condition.vision(pixels).last_hidden_state)
    return tokens


def test_a_condition_frame_is_the_frame_itself(image_to_video: ImageToVideoTask) -> None:
    batch = image_to_video.source.batch(rng(), 0)
    assert batch.frame_pixels is not None
    every = torch.stack([batch.frame_pixels([n, n]) for n in range(4)], dim=1)  # [B, F, 3, H, W]
    assert every.min() >= 0
    assert every.max() <= 1
    assert torch.equal(batch.frame_pixels([3, 0]), torch.stack([every[0, 3], every[1, 0]]))
    assert not torch.equal(every[:, 0], every[:, 3])


def test_random_condition_frames_are_spread_over_the_clip(
    image_to_video: ImageToVideoTask,
) -> None:
    task, draws = image_to_video, rng()
    batch = task.source.batch(draws, 0)
    picks = Counter(pick for _ in range(100) for pick in task._condition(draws, batch))
    assert sorted(picks) == [0, 1, 2, 3]
    assert min(picks.values()) > 20


def test_dropped_conditions_exclude_each_other() -> None:
    dropped = draw_one_kind_each(rng(), 20_000, caption=0.05, both=0.1, picture=0.2)
    kinds = Counter(zip(dropped.captions.tolist(), dropped.pictures.tolist(), strict=True))
    shares = {kind: count / 20_000 for kind, count in kinds.items()}
    expected = {
        (True, False): 0.05,
        (True, True): 0.1,
        (False, True): 0.2,
        (False, False): 0.65,
    }
    assert shares == pytest.approx(expected, abs=0.01)


def test_sizes_that_the_model_cannot_halve_are_refused(studio: Studio) -> None:
    data = studio.data()
    data["resolution"]["multiple"] = 24
    with pytest.raises(RecipeError, match=r"resolution.multiple: a multiple of 16"):
        text_to_video(studio, data=data)


def test_data_without_a_usable_clip_ends_the_run_with_its_words(studio: Studio) -> None:
    data = studio.data()
    data["window"]["frames"] = 100
    with closing(text_to_video(studio, data=data)) as task:
        with pytest.raises(TrainingError, match="too short"):
            task.source.batch(rng(), 0)
        with pytest.raises(TrainingError, match="no clip can be used to measure on"):
            task.source.probe()


def test_latents_hold_no_pixels_for_the_vision_tower() -> None:
    with pytest.raises(ValueError, match="no pixels for the vision tower"):
        ImageToVideoStage.model_validate(
            {
                "vae": "v",
                "towers": "t",
                "start": "s",
                "trains": "mapping",
                "data": {"kind": "latents", "clips": "l"},
            }
        )


def test_a_tower_without_its_last_block_is_read_at_its_last_layer(studio: Studio) -> None:
    whole = CLIPTextModel.from_pretrained(studio.models / "text_encoder")
    config = copy.deepcopy(whole.config)
    config.num_hidden_layers -= 1
    cut = CLIPTextModel(config)
    tensors = {name: t for name, t in whole.state_dict().items() if name in cut.state_dict()}
    cut.load_state_dict(tensors)
    ids = torch.arange(77)[None]
    with torch.no_grad():
        expected = encode_text(whole.eval(), ids, "penultimate")
        assert torch.allclose(encode_text(cut.eval(), ids, "last"), expected, atol=1e-6)
