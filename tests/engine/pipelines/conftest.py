"""Small real pipelines with random weights."""

from pathlib import Path

import pytest

from engine.pipelines import ImageToVideoPipeline, TextToVideoPipeline
from tests.engine.pipelines.parts import make_components


@pytest.fixture
def t2v() -> TextToVideoPipeline:
    pipeline = TextToVideoPipeline(**make_components(image=False), text_layer="penultimate")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def i2v() -> ImageToVideoPipeline:
    pipeline = ImageToVideoPipeline(**make_components(image=True))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def saved_t2v(t2v: TextToVideoPipeline, tmp_path: Path) -> Path:
    t2v.save_pretrained(tmp_path / "model")
    return tmp_path / "model"
