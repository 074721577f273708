"""Make a server's own words fit for a log: one short line, without secrets."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 300
_LOOKED_AT: Final = 2_000
_HIDDEN: Final = "[hidden]"
_RECOGNISABLE: Final = 6
"""Characters of a key by which a shortened quotation of it is recognised."""

_SECRETS: Final = (
    re.compile(r"(?<=://)[^/\s@]{1,200}@"),
    re.compile(r"(?i)\bbearer\s+[^\s\"',;]+"),
    re.compile(
        r"(?i)\b(?:authorization|(?:x-)?api[-_ ]?key|key|(?:access[-_ ]?)?token|password|secret|"
        r"signature|sig)\b[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer\s+)?[^\s\"',;&]+"
    ),
    re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi|ghp|pat|tok|key|r8|fw)[-_][\w*.-]+"),
    re.compile(r"\b(?:AIza|AKIA|eyJ)[\w*.-]+"),
    re.compile(r"\S*\*{3,}\S*"),
)
_MIXED: Final = re.compile(r"\d[^\W\d_]|[^\W\d_]\d|[a-z][A-Z].*[a-z][A-Z]")
_LONGEST_NAME: Final = 24
_RUN: Final = re.compile(r"[\w+/=~.-]{16,}")


def for_log(words: str, secrets: tuple[str, ...] = (), known: tuple[str, ...] = ()) -> str:
    """Return `words` on one line, shortened, without anything that looks like a secret.

    Args:
        words: The server's own words.
        secrets: Keys that must not be shown, neither whole nor in part.
        known: Texts that may be shown although they look like secrets, such as a model's name.
    """
    text = words[:_LOOKED_AT]
    for secret in filter(None, secrets):
        text = text.replace(secret, _HIDDEN)
        if len(secret) > _RECOGNISABLE:
            text = re.sub(rf"{re.escape(secret[:_RECOGNISABLE])}[^\s\"',]*", _HIDDEN, text)
            text = re.sub(rf"[^\s\"',]*{re.escape(secret[-_RECOGNISABLE:])}", _HIDDEN, text)
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    text = _RUN.sub(lambda run: run[0] if _is_harmless(run[0], known) else _HIDDEN, text)
    text = "".join(map(_visible, " ".join(text.split())))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_harmless(run: str, known: tuple[str, ...]) -> bool:
    """Return whether a long run of letters and signs is a name rather than a token."""
    if any(run.strip(".") in name for name in known):
        return True
    words = [word for word in re.split(r"[\W_]+", run) if word]
    return not any(len(word) > 5 and _MIXED.search(word) for word in words) and (
        max(map(len, words), default=0) < _LONGEST_NAME
    )


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
