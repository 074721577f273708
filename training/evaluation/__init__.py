"""Measuring a model: prompts with known facts, clips, the judge's agreement, a report."""

from training.evaluation.contact_sheet import contact_sheet
from training.evaluation.ground_truth import degrade, evaluate_judge
from training.evaluation.prompts import Prompt, draw_prompts
from training.evaluation.report import ClipRecord, Rate, Report
from training.evaluation.text_to_video import evaluate_text_to_video

__all__ = [
    "ClipRecord",
    "Prompt",
    "Rate",
    "Report",
    "contact_sheet",
    "degrade",
    "draw_prompts",
    "evaluate_judge",
    "evaluate_text_to_video",
]
