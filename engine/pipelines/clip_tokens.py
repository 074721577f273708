"""Read a prompt as CLIP's own tokenizer reads it: mended, lower-cased, in byte pairs.

The released text encoders were trained with the tokenizer of open_clip (2.22, with ftfy), and this
follows it to the id. That of transformers differs: it mends nothing (a phone's curly apostrophe is
no apostrophe to it), and it takes the names of special tokens in a prompt for the tokens.

In two places the original is odd and is not followed:

- `<start_of_text>` and `<end_of_text>`, its own names of the special tokens, become these
  tokens wherever somebody types them. Here all that is typed is text.
- U+0085, the line break of some machines, is read as an ellipsis, which Windows-1252 has at this
  place. Here it is a blank like every line break, unless it is a piece of a wrongly decoded letter
  or other signs of Windows-1252 stand with it.
"""

from __future__ import annotations

import html
from functools import cache
from typing import Any

import ftfy
import regex
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

_PIECE = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_NEXT_LINE = "\x85"
_NEXT_LINE_OR_UTF8 = (
    r"\x85|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_C1_CONTROLS = frozenset(map(chr, range(0x80, 0xA0)))


def clean_prompt(prompt: str) -> str:
    """Mend what keyboards and copying leave in a text; case is kept.

    Typographic quotes, full-width letters, ligatures, wrongly decoded letters, control characters
    and web escapes become what they mean; runs of blanks and line breaks become one blank.
    """
    if _NEXT_LINE in prompt:
        prompt = _with_line_breaks(prompt)
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return " ".join(text.split())


def token_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """Ids of a text of `clean_prompt`: start token, words, end token; of any length.

    Any number of threads may share the tokenizer, whose settings are neither used nor changed.
    """
    model = tokenizer.backend_tokenizer.model
    ids = [_special_id(tokenizer, "bos_token_id")]
    for piece in _pattern().findall(text.lower()):
        ids += [token.id for token in model.tokenize(_in_byte_symbols(piece))]
    return [*ids, _special_id(tokenizer, "eos_token_id")]


def _with_line_breaks(prompt: str) -> str:
    sequences = regex.findall(f"{_NEXT_LINE_OR_UTF8}|.", prompt, regex.DOTALL)
    if _C1_CONTROLS.intersection(sequences) != {_NEXT_LINE}:
        return prompt
    return "".join("\n" if one == _NEXT_LINE else one for one in sequences)


def _special_id(tokenizer: CLIPTokenizer, name: str) -> int:
    token_id: int = getattr(tokenizer, name)
    return token_id


def _in_byte_symbols(piece: str) -> str:
    """Write the UTF-8 bytes of a piece with the characters that stand for them in vocabularies."""
    [(symbols, _)] = _byte_level().pre_tokenize_str(piece)
    return symbols


@cache
def _byte_level() -> ByteLevel:
    return ByteLevel(add_prefix_space=False, use_regex=False)


@cache
def _pattern() -> Any:
    return regex.compile(_PIECE, regex.IGNORECASE)
