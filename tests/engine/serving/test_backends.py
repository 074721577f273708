"""What the engine makes of what a model family says: its features, its faults, its folders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints import ModelCard, ModelLoadError
from engine.checkpoints.folder.lora import LoraSource
from engine.serving import (
    Cancelled,
    Engine,
    EngineSettings,
    Event,
    Failed,
    FailureReason,
    Finished,
    GenerationRequest,
    Job,
    ModelOptions,
    Progress,
    RequestError,
    ResolvedParams,
    ResolvedSettings,
)
from engine.serving.backends import (
    BackendRegistry,
    BeforePart,
    NonFiniteError,
    OnStep,
    Supports,
    default_backends,
)
from engine.serving.execution.memory_planner import MemoryPlanner
from engine.serving.execution.pipeline_cache import PipelineCache
from tests.extending.test_model_family import Frames, GradientBackend, GradientModel


class Model(GradientModel):
    """Notes its batches; cannot decode black, nor sample grey."""

    def __init__(self, batches: list[int]) -> None:
        self._batches = batches

    def run(self, batch: Sequence[ResolvedParams], on_step: OnStep) -> Sequence[Frames]:
        self._batches.append(len(batch))
        if len(batch) == 1 and batch[0].prompt == "grey":
            raise ZeroDivisionError("grey")
        return super().run(batch, on_step)

    def decode(self, clip: Frames, check: Any, *, low_memory: bool = False) -> Frames:
        if not clip[:, :, :, 2].any():  # the first frame alone has no blue
            raise NonFiniteError("black")
        return super().decode(clip, check, low_memory=low_memory)


class Family(GradientBackend):
    def __init__(self, supports: Supports | None = None) -> None:
        self.batches: list[int] = []
        self.loading, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self._supports = supports or Supports(batches=True)

    def supports(self, card: ModelCard) -> Supports:
        return self._supports

    def load(
        self, card: ModelCard, device: str, options: ModelOptions, before_part: BeforePart
    ) -> GradientModel:
        self.loading.set()
        assert self.go_on.wait(60)
        before_part("brush")
        return Model(self.batches)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gradient"
    folder.mkdir()
    (folder / "gradient.txt").touch()
    return folder


@pytest.fixture
def card(folder: Path) -> ModelCard:
    card = GradientBackend().describe("gradient", folder)
    assert card is not None
    return card


def engine_of(family: Family, folder: Path, **changes: Any) -> Engine:
    settings: dict[str, Any] = {
        "output_dir": folder.parent / "out",
        "devices": ("cpu",),
        "model_dirs": {"gradient": folder},
        "min_free_mb": 1,
    }
    return Engine(EngineSettings(**(settings | changes)), default_backends().with_family(family))


def request(job_id: str, prompt: str = "a dawn", **changes: Any) -> GenerationRequest:
    return GenerationRequest(job_id=job_id, model="gradient", prompt=prompt, **changes)


async def end_of(job: Job) -> Event:
    return [event async for event in job][-1]


def test_an_unknown_family_is_named_with_those_that_are_known(card: ModelCard) -> None:
    with pytest.raises(ModelLoadError, match=r"'gradient'; known are videocrafter\."):
        default_backends().of(card)


def test_a_family_takes_the_place_of_one_of_its_name(card: ModelCard) -> None:
    first, second = Family(), Family()
    registry = BackendRegistry([first]).with_family(second)
    assert list(registry) == [second]
    assert registry.of(card) is second
    assert registry.describe("other", card.path.parent) is None


@pytest.mark.parametrize(
    ("supports", "most"),
    [
        (Supports(batches=True), 8),
        (Supports(batches=False), 1),
        (Supports(batches=True, cancel_per_step=False), 1),
    ],
)
def test_only_clips_that_can_share_a_run_and_leave_it_do(
    card: ModelCard, supports: Supports, most: int
) -> None:
    params = ResolvedParams(
        model="gradient",
        prompt="x",
        seed=1,
        fps=8,
        steps=2,
        guidance=1.0,
        width=64,
        height=48,
        num_frames=9,
    )
    planner = MemoryPlanner("cpu", 8, lambda card: 0, backends=BackendRegistry([Family(supports)]))
    assert planner.max_batch(ResolvedSettings(model=card, params=params)) == most


def test_loras_are_refused_where_the_family_takes_none(card: ModelCard) -> None:
    variant = replace(card, loras=(LoraSource(card.path, 1.0),), revision="")

    def cache(supports: Supports) -> PipelineCache:
        backends = BackendRegistry([Family(supports)])
        return PipelineCache("cpu", lambda name: ModelOptions(), backends=backends)

    with pytest.raises(ModelLoadError, match="take no LoRAs"):
        cache(Supports()).get(variant)
    assert isinstance(cache(Supports(lora=True)).get(variant), Model)


async def test_jobs_of_a_family_share_a_run_and_end_by_themselves(folder: Path) -> None:
    """One clip cannot be decoded, one is cancelled, one is finished."""
    family = Family()
    async with engine_of(family, folder, max_batch=3) as engine:
        family.go_on.clear()
        blocker = engine.submit(request("blocker", steps=1))
        assert await asyncio.to_thread(family.loading.wait, 60)
        jobs = [
            engine.submit(request("black", num_frames=1)),
            *(engine.submit(request(name, num_frames=5)) for name in ("kept", "left")),
        ]
        left = jobs[-1]
        left.subscribe(lambda event: left.cancel() if isinstance(event, Progress) else None)
        family.go_on.set()
        ends = [await end_of(job) for job in (blocker, *jobs)]
    assert [type(end) for end in ends] == [Finished, Failed, Finished, Cancelled]
    assert isinstance(ends[1], Failed)
    assert ends[1].reason is FailureReason.NON_FINITE
    assert sorted(family.batches) == [1, 1, 2]
    assert sorted(path.stem for path in (folder.parent / "out").rglob("*.mp4")) == [
        "blocker",
        "kept",
    ]


async def test_a_model_without_its_family_is_refused(folder: Path) -> None:
    settings = EngineSettings(output_dir=folder.parent / "out", devices=("cpu",))
    async with Engine(settings, BackendRegistry([Family()])) as engine:
        with pytest.raises(RequestError, match="of the family 'videocrafter'; known are gradient"):
            engine.submit(replace(request("a"), model="demo-t2v"))


async def test_what_a_family_raises_ends_its_job_alone(folder: Path) -> None:
    async with engine_of(Family(), folder) as engine:
        end = await end_of(engine.submit(request("grey", "grey")))
        assert isinstance(end, Failed)
        assert (end.reason, end.detail) == (FailureReason.INTERNAL, "ZeroDivisionError: grey")
        assert isinstance(await end_of(engine.submit(request("next"))), Finished)


async def test_a_job_is_cancelled_before_a_part_is_loaded(folder: Path) -> None:
    family = Family()
    async with engine_of(family, folder) as engine:
        family.go_on.clear()
        job = engine.submit(request("a"))
        assert await asyncio.to_thread(family.loading.wait, 60)
        job.cancel()
        family.go_on.set()
        assert await end_of(job) == Cancelled()
    assert family.batches == []


async def test_previews_are_those_of_the_family(folder: Path) -> None:
    async with engine_of(Family(), folder, previews_per_job=1) as engine:
        events = [event async for event in engine.submit(request("a"))]
    previews = [event.preview for event in events if isinstance(event, Progress)]
    assert [preview is not None for preview in previews] == [True, False]
