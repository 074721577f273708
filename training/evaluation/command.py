"""``python -m training evaluate``: a model by name, its clips judged, a report on disk."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from engine.checkpoints import Catalog, ModelCard, ModelLoadError, UnknownModelError, load_pipeline
from training.evaluation.contact_sheet import contact_sheet
from training.evaluation.image_to_video import draw_pictures, evaluate_image_to_video
from training.evaluation.prompts import draw_prompts
from training.evaluation.report import Report
from training.evaluation.text_to_video import evaluate_text_to_video


def evaluate_model(
    model: str,
    *,
    prompts: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
    fps: int | None,
    output: Path,
) -> Report:
    """Judge a model on prompts of the small world, and pictures of it where it wants some.

    Writes ``report.json`` and ``contact-sheet.png`` into ``output``.

    Args:
        model: name of a known model, or path of a model folder.
        prompts: how many prompts to draw.
        seed: draws the prompts, and is the first noise seed.
        steps: sampling steps; None for the model's default.
        guidance: guidance scale; None for the model's default.
        fps: fps label of the clips; None for the model's default.
        output: folder, made if missing.

    Raises:
        ModelLoadError: no such model, or it cannot be loaded.
    """
    card = _card(model)
    pipeline = load_pipeline(card)
    sized = partial(pipeline, height=card.height, width=card.width, num_frames=card.num_frames)
    steps = steps or card.default_steps
    guidance = card.default_guidance if guidance is None else guidance
    fps = fps or card.default_fps
    with tqdm(total=prompts, unit="clip", file=sys.stderr) as bar:

        def show(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        if card.wants_image:
            report = evaluate_image_to_video(
                sized,
                draw_pictures(prompts, seed),
                seed,
                steps=steps,
                guidance=guidance,
                fps=fps,
                on_progress=show,
            )
        else:
            report = evaluate_text_to_video(
                sized,
                draw_prompts(prompts, seed),
                [seed],
                steps=steps,
                guidance=guidance,
                fps=fps,
                on_progress=show,
            )
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(report.to_json(), encoding="utf-8")
    contact_sheet(report).save(output / "contact-sheet.png")
    return report


def _card(model: str) -> ModelCard:
    folder = Path(model)
    if folder.is_dir():
        name = folder.resolve().name
        return Catalog({name: folder}).get(name)
    try:
        return Catalog().get(model)
    except UnknownModelError as error:
        raise ModelLoadError(str(error)) from error
