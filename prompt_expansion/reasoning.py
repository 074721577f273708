"""Separate the answer of a reasoning model from the reasoning before it.

Servers are meant to send reasoning in a field of its own. Many send it inside the answer, often
without its opening tag, because the chat template has already written that one.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = (
    r"(?:seed:|ant|inner[_ ]?|chain[_ ]of[_ ]|internal[_ ])?"
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|reflexion|analysis|scratch_?pad|"
    r"monologue|cot|ponder(?:ing)?|deliberat(?:e|ion)|brainstorm(?:ing)?|planning|plan|details|"
    r"summary|critique|rationale|explanation)"
)
_MARK: Final = re.compile(
    rf"""
    [<\[◁【]
    (?P<slash>\s{{0,2}}/)? \|? \s{{0,2}} (?P<slash_inside>/)?
    (?P<edge>(?:start|begin|end)(?:[_▁\s-]of)?[_▁\s-])?
    {_NAMES} (?![^\W_])
    [^<>\[\]◁▷【】]{{0,200}}
    [>\]▷】]
  | <(?P<suffix>\|?inner_suffix\|?|unused95|channel\|)>
  | <(?:\|?inner_prefix\|?|unused94|\|channel)>
  | (?P<done>\.\.\.\s?done\ thinking\.)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CHANNEL: Final = "<|channel|>"
_FINAL_CHANNEL: Final = re.compile(
    r"<\|channel\|>\s*final\b(?:[^<]|<\|constrain\|>){0,200}<\|message\|>", re.IGNORECASE
)
# The channels of gpt-oss when a server has dropped the special tokens between them.
_BARE_ANALYSIS: Final = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)")
_BARE_FINAL: Final = "assistantfinal"


def strip_reasoning(reply: str) -> str:
    """Return what follows the reasoning in `reply`; all of it when there is no reasoning.

    Returns:
        The answer; empty when the reasoning did not end. The time needed is linear in the length.
    """
    if _CHANNEL in reply:
        finals = list(_FINAL_CHANNEL.finditer(reply))
        reply = reply[finals[-1].end() :] if finals else ""
    elif _BARE_ANALYSIS.match(reply) and _BARE_FINAL in reply:
        reply = reply.rpartition(_BARE_FINAL)[2]
    marks = list(_MARK.finditer(reply))
    if not marks:
        return reply
    if not _closes(marks[-1]):
        return ""
    after = reply[marks[-1].end() :]
    if after.strip() or _closes(marks[0]):
        return after
    return reply[: marks[0].start()]  # the reasons come after the answer


def _closes(mark: re.Match[str]) -> bool:
    edge = mark["edge"] or ""
    ends = edge.casefold().startswith("end")
    return bool(mark["slash"] or mark["slash_inside"] or ends or mark["suffix"] or mark["done"])
