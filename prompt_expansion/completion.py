"""Read the answer of a chat server, which is not trusted to have sent one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError

_FINISHED: Final = frozenset(
    "stop stopped eos eos_token end_turn end_of_turn stop_sequence complete completed".split()
)
_CUT_OFF: Final = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_FILTERED: Final = frozenset(
    "content_filter content_filtered safety sensitive recitation refusal blocked blocklist "
    "prohibited_content spii guardrail_intervened".split()
)
_LONGEST_COMPLAINT: Final = 2_000


class _Message(BaseModel):
    content: str | list[str | dict[str, Any]] | None = None
    refusal: Any = None

    @property
    def text(self) -> str:
        """The content, without parts that are no text, such as reasoning."""
        parts = [self.content] if isinstance(self.content, str) else self.content or []
        return "".join(part if isinstance(part, str) else _text_of(part) for part in parts)


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None
    error: Any = None


class _Completion(BaseModel):
    """The part of a chat completion that is read."""

    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a chat model.

    Attributes:
        text: Its words, as they came.
        cut_off: Whether it ran into the limit of tokens.
        declined: Whether a filter or the model itself refused to answer.
        finished: False if it ended in another way than models do.
    """

    text: str
    cut_off: bool = False
    declined: bool = False
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Complaint:
    """A server's complaint, sent in place of an answer.

    Attributes:
        status: The HTTP status, or the code in the body that stands for one.
        words: The server's own words, with whatever they quote; empty if there are none.
        codes: Its names for the error, in lower case.
    """

    status: int
    words: str
    codes: str = ""

    @property
    def is_about_quota(self) -> bool:
        """True if quota or credit is used up, so that trying again is of no use."""
        if "rate_limit" in self.codes:
            return False
        text = f"{self.codes} {self.words.casefold()}"
        return self.status == 402 or bool(
            re.search(
                r"insufficient[_ ](?:quota|balance|credit|fund)|current quota|quota[_ ]exceeded|"
                r"billing|out of credits?|credit balance",
                text,
            )
        )


def read_reply(body: bytes) -> Reply | Complaint:
    """Read the body of an answer with status 200.

    Raises:
        ValueError: If it is neither a chat completion nor an error.
    """
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError:
        complaint = read_complaint(200, body)
        if complaint.codes or _is_error(body):
            return complaint
        raise
    if choice.error:
        return read_complaint(200, json.dumps({"error": choice.error}).encode())
    reason = str(choice.finish_reason or "stop").casefold()
    return Reply(
        choice.message.text,
        cut_off=reason in _CUT_OFF,
        declined=reason in _FILTERED or bool(choice.message.refusal),
        finished=reason in _FINISHED | _CUT_OFF,
    )


def read_complaint(status: int, body: bytes) -> Complaint:
    """Read an answer that is an error; never fails."""
    data = _json(body)
    error = data
    if isinstance(data, dict):
        error = next((data[key] for key in ("error", "errors", "detail") if data.get(key)), data)
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict):
        codes = [error.get(key) for key in ("code", "type", "param", "status")]
        code = error.get("code")
        if status < 400 and isinstance(code, int) and 400 <= code < 600:
            status = code
        words = error.get("message") or error.get("msg") or json.dumps(error)
    else:
        codes = []
        words = error if isinstance(error, str) and error else body.decode("utf-8", "replace")
    return Complaint(
        status,
        f"{words}"[:_LONGEST_COMPLAINT],
        " ".join(str(code).casefold()[:100] for code in codes if code),
    )


def _text_of(part: dict[str, Any]) -> str:
    text = part.get("text")
    known = part.get("type", "text") in {"text", "output_text"}
    return text if known and isinstance(text, str) else ""


def _is_error(body: bytes) -> bool:
    data = _json(body)
    return isinstance(data, dict) and any(data.get(key) for key in ("error", "errors", "detail"))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
