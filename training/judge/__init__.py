"""A judge of generated clips without learnt parts: colour, shape, motion and steadiness."""

from training.judge.thresholds import Thresholds
from training.judge.verdict import Verdict, judge

__all__ = ["Thresholds", "Verdict", "judge"]
