"""Pipelines that draw what they are asked for, and models too small to draw anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.engine.conftest import write_tiny_model
from training.data.synthetic import SyntheticScene, render
from training.evaluation.clips import Sampling
from training.evaluation.measure import EvaluationPlan, evaluate, generator
from training.evaluation.prompts import Case, draw_cases
from training.evaluation.report import Report

LABELS = (8, 12, 16, 24)
T2V = Sampling(steps=5, guidance=4.0, width=64, height=64, num_frames=16, pictures=False)
I2V = replace(T2V, pictures=True)

Spoil = Callable[[SyntheticScene], SyntheticScene]


class Scripted:
    """A pipeline that draws the scene behind each prompt, after ``spoil`` has changed it."""

    def __init__(self, cases: Sequence[Case], spoil: Spoil = lambda scene: scene) -> None:
        self.scenes = {case.prompt.text: case.scene for case in cases}
        self.spoil = spoil
        self.calls: list[Mapping[str, Any]] = []

    def __call__(self, prompt: list[str], **options: Any) -> SimpleNamespace:
        self.calls.append({"prompt": prompt, **options})
        clips = []
        for text, fps, noise in zip(prompt, options["fps"], options["generator"], strict=True):
            scene = replace(self.scenes[text], fps=fps)
            scene = replace(scene, x=scene.x + float(torch.rand(1, generator=noise)))
            clips.append(render(self.spoil(scene), range(options["num_frames"])))
        return SimpleNamespace(frames=torch.stack(clips).float() / 255)


def run(pipe: Any, cases: Sequence[Case], sampling: Sampling = T2V, **plan: Any) -> Report:
    """Evaluate a pipeline in this process."""
    plan = {"seed": 3, "fps": 8, "labels": LABELS, "curve_prompts": 4, "batch_size": 5} | plan
    return evaluate(EvaluationPlan(cases=tuple(cases), **plan), sampling, generator(pipe, sampling))


@pytest.fixture(scope="session")
def cases() -> tuple[Case, ...]:
    """Twenty prompts of combinations that training never sees."""
    return draw_cases(20, 6, split="held-out")


@pytest.fixture(scope="session")
def perfect(cases: tuple[Case, ...]) -> Report:
    """The report of a text-to-video model that does everything right."""
    return run(Scripted(cases), cases)


@pytest.fixture(scope="session")
def frozen(cases: tuple[Case, ...]) -> Report:
    """The report of a model that draws the right things and never moves them."""
    return run(Scripted(cases, lambda scene: replace(scene, motion="still")), cases)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders of models with random weights."""
    folder = tmp_path_factory.mktemp("models")
    return {
        task: write_tiny_model(folder / f"tiny-{task}", with_image=task == "i2v")
        for task in ("t2v", "i2v")
    }
