"""Explain a failed clip to the operator: on a command line there is nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the serving layer needs torch, which other commands can do without
    from engine.serving import JobFailed

_SENTENCES: Final = {
    "internal": "Something went wrong while making this clip",
    "encoder_failed": "The video encoder (ffmpeg) failed on this clip",
    "encoder_missing": "The video encoder (ffmpeg) is missing",
    "model_unavailable": "The model cannot be loaded",
}
"""Instead of what users are told, who can only be sent to the operator."""

_ADVICE: Final = {
    "internal": "`python -m engine --verbose generate …` shows where.",
    "encoder_failed": "`python -m engine --verbose generate …` shows all that it said.",
    "encoder_missing": "Install imageio-ffmpeg again, or set IMAGEIO_FFMPEG_EXE to an ffmpeg.",
    "out_of_memory": "The options are --size, --frames, and those that docs/memory.md tells of.",
    "disk_full": "Free some space beside the output, or choose another --output.",
    "non_finite": "The options are --seed and --guidance; --precision float32 may help, too.",
}


def explain_failure(error: JobFailed) -> str:
    """Return the reason of a failure and what to do, in one line."""
    reason = error.reason.value
    sentence = _SENTENCES.get(reason)
    text = error.message if sentence is None else f"{sentence}: {error.detail or reason}"
    if not text.endswith((".", "!", "?")):
        text += "."
    advice = _ADVICE.get(reason)
    return " ".join((text if advice is None else f"{text} {advice}").split())
