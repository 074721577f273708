"""Cut the one turn of the assistant out of a reply that still has a chat template's marks.

Which marks a model writes depends on its template (ChatML, Llama, Gemma, Phi, Mistral, DeepSeek,
Command-R, Granite, Harmony …). Most have the same form, so forms are recognised rather than names.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""
    <\|[^<>|\n]{1,60}\|>       # <|im_end|>, <|end▁of▁sentence|>
  | <\|/?\w{1,40}> | </?\w{1,40}\|>
  | \[\|[^\[\]|\n]{1,40}\|\]   # EXAONE
  | </?s> | <(?:eos|bos|pad|unk|mask|sop|eop|eoa|eoh|eot|eom|eod)>
  | <(?:reserved|unused|ctrl|extra_id|special)_?\d{1,4}> | <0x[0-9a-f]{2}>
  | <(?:start|end|begin)_of_\w{1,20}> | <\w{1,20}_token>
  | </?(?:assistant|model|bot|user|human|system)>
  | \[/?(?:INST|SYS|SYSTEM_PROMPT|BOS|EOS|EOT|PAD|UNK|SEP|CLS|gMASK|RESPONSE|ANSWER)\]
  | <</?SYS>>
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OTHERS_TURN: Final = re.compile(r"user|human|system|prompter|tool|<<SYS|\[INST", re.IGNORECASE)
_SPEAKER: Final = (
    r"(?:gpt-?4\ correct\ )?(?:ai\ )?(?:assistant|model|ai|bot|chatbot|gpt|chatgpt|llama|response)"
)
_ROLE: Final = re.compile(rf"{_SPEAKER}\s*(?::|\n|(?=<\|))", re.IGNORECASE)
_OTHERS_ROLE: Final = re.compile(r"(?:user|human|system|prompter)\s*(?::|\n)", re.IGNORECASE)
_NEXT_TURN: Final = re.compile(
    rf"\n[ \t]*(?:{_SPEAKER}|user|human|system)[ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE
)


def assistant_turn(text: str) -> str:
    """Return the assistant's first turn in `text` without role names and special tokens.

    Returns:
        The turn; empty when the text opens with somebody else's.
    """
    text = text.strip()
    while True:
        if token := _TOKEN.match(text):
            if _OTHERS_TURN.search(token[0]):
                return ""
            text = text[token.end() :].lstrip()
        elif role := _ROLE.match(text):
            text = text[role.end() :].lstrip()
        else:
            break
    if _OTHERS_ROLE.match(text):
        return ""
    for end in (_TOKEN.search(text), _NEXT_TURN.search(text)):
        if end:
            text = text[: end.start()]
    return text
