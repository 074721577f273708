"""How many clips go together, and what is recommended when one does not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.checkpoints import Catalog, ModelLoadError
from engine.serving import EngineSettings, EngineSettingsError, GenerationRequest, ResolvedSettings
from engine.serving.backends.videocrafter import VideoCrafterBackend
from engine.serving.execution.memory_planner import MOST, MemoryPlanner
from engine.serving.request import resolve


@pytest.fixture
def asked(tiny_t2v: Path) -> ResolvedSettings:
    request = GenerationRequest(job_id="a", model="tiny-t2v", prompt="x", seed=1)
    return resolve(request, Catalog({"tiny-t2v": tiny_t2v}))


def estimated_bytes(asked: ResolvedSettings) -> int:
    return VideoCrafterBackend().clip_bytes(asked.model, asked.params)


def changed(asked: ResolvedSettings, **changes: Any) -> ResolvedSettings:
    return replace(asked, params=replace(asked.params, **changes))


def of_size(asked: ResolvedSettings, width: int, height: int, frames: int = 16) -> Any:
    sizes = ((1024, 576), (512, 320), (256, 160), (320, 320))
    card = replace(asked.model, sizes=sizes)
    params = replace(asked.params, width=width, height=height, num_frames=frames)
    return replace(asked, model=card, params=params)


def capacity(
    device: str = "cuda",
    max_batch: int | Literal["auto"] = "auto",
    free: int = 10**12,
    missing: int = 0,
) -> MemoryPlanner:
    return MemoryPlanner(device, max_batch, lambda card: missing, lambda: free)


@pytest.mark.parametrize(
    ("device", "setting", "expected"),
    [
        ("cpu", "auto", 1),
        ("cpu", 5, 5),
        ("mps", "auto", 1),
        ("cuda", "auto", MOST),
        ("cuda:1", 3, 3),
        ("cuda", 64, 64),
        ("cuda", 1, 1),
    ],
)
def test_with_plenty_of_memory_the_setting_counts(
    asked: ResolvedSettings, device: str, setting: Any, expected: int
) -> None:
    assert capacity(device, setting).max_batch(asked) == expected


def test_on_a_gpu_free_memory_counts(asked: ResolvedSettings) -> None:
    each = estimated_bytes(asked)
    assert capacity(free=int(each * 3.5 / 0.9)).max_batch(asked) == 3
    assert capacity(free=int(each * 3.5 / 0.9), missing=2 * each).max_batch(asked) == 1
    assert capacity(free=0).max_batch(asked) == 1, "one is always tried"
    assert capacity(max_batch=2, free=int(each * 3.5 / 0.9)).max_batch(asked) == 2


def test_what_was_measured_counts_more_than_the_guess(asked: ResolvedSettings) -> None:
    each = estimated_bytes(asked)
    known = capacity(free=int(each * 3.4 / 0.9))
    known.record_success(asked, 2, peak_bytes=each)  # half of the guess
    assert known.max_batch(asked) == 6
    assert known.max_batch(changed(asked, steps=9)) == 3, "another batch key"


def test_the_guess_grows_with_what_a_clip_is_made_of(asked: ResolvedSettings) -> None:
    small, large = of_size(asked, 256, 160), of_size(asked, 512, 320)
    assert estimated_bytes(large) == 4 * estimated_bytes(small)
    assert estimated_bytes(changed(large, num_frames=8)) == estimated_bytes(large) // 2
    assert estimated_bytes(changed(large, guidance=1.0)) == estimated_bytes(large) // 2


def test_what_was_too_many_is_halved(asked: ResolvedSettings) -> None:
    known = capacity("cpu", 8)
    known.record_oom(asked, 8)
    assert known.max_batch(asked) == 4
    known.record_oom(asked, 1)
    assert known.max_batch(asked) == 1
    assert known.max_batch(changed(asked, steps=9)) == 8


def test_a_shape_that_needs_the_frugal_way_is_made_alone(asked: ResolvedSettings) -> None:
    known = capacity("cpu", 8)
    assert not known.requires_low_memory(asked)
    known.record_low_memory(asked)
    assert known.requires_low_memory(asked)
    assert not known.requires_low_memory(changed(asked, num_frames=2))
    assert known.max_batch(asked) == 1


def test_a_model_that_cannot_be_measured_is_made_alone(asked: ResolvedSettings) -> None:
    def broken(card: object) -> int:
        raise ModelLoadError("gone")

    assert MemoryPlanner("cuda", "auto", broken, lambda: 10**12).max_batch(asked) == 1


def test_the_largest_size_of_at_most_half_the_pixels_is_recommended(
    asked: ResolvedSettings,
) -> None:
    text = capacity().suggest_smaller(of_size(asked, 1024, 576))
    assert text == (
        "1024x576 with 16 frames is too large; 512x320 has 28 % of the pixels and may fit."
    )
    assert "256x160 has 40 %" in capacity().suggest_smaller(of_size(asked, 320, 320))


def test_a_size_that_has_worked_is_recommended_before_all_others(
    asked: ResolvedSettings,
) -> None:
    known = capacity()
    known.record_success(of_size(asked, 320, 320, 8), 1)
    wanted = of_size(asked, 1024, 576)
    assert "512x320 has 28 %" in known.suggest_smaller(wanted), "it was shorter"
    known.record_success(of_size(asked, 320, 320), 1)
    assert known.suggest_smaller(wanted).endswith("; 320x320 has worked here and should fit.")
    known.record_success(of_size(asked, 1024, 576), 1)
    assert "320x320 has worked" in known.suggest_smaller(wanted), (
        "what has just failed is no advice"
    )


def test_the_smallest_size_can_only_have_fewer_frames(asked: ResolvedSettings) -> None:
    assert "8 frames need about half" in capacity().suggest_smaller(of_size(asked, 256, 160))
    assert "there is no smaller size" in capacity().suggest_smaller(of_size(asked, 256, 160, 1))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"max_batch": 0}, "max_batch: 0 is no whole number from 1 to 64"),
        ({"max_batch": "many"}, "max_batch: 'many' is no whole number"),
        ({"model_memory_gb": 0}, "model_memory_gb: 0 is no number"),
        ({"hang_after_s": float("nan")}, "hang_after_s: nan is no number"),
        ({"hang_after_s": True}, "hang_after_s: True"),
    ],
)
def test_impossible_settings_are_refused(
    changes: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineSettingsError, match=text):
        EngineSettings(output_dir=tmp_path, **changes)
