"""Showing what strangers type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserError
from bot.jobs.parameters import checked_prompt, parsed_size
from bot.messages.text import clean, duration, escape, megabytes, quote
from engine.serving.request import random_seed


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a close-up of a cat (black)", "a close-up of a cat (black)"),
        ("# heading", "\\# heading"),
        ("-# small", "\\-# small"),
        ("> quote", "\\> quote"),
        ("1. one", "1\\. one"),
        ("*a* _b_ ~~c~~ ||d|| `e`", "\\*a\\* \\_b\\_ \\~\\~c\\~\\~ \\|\\|d\\|\\| \\`e\\`"),
        ("@everyone <@1>", "\\@everyone \\<\\@1>"),
        ("[x](https://y.example)", "\\[x\\](https:\\//y.example)"),
        ("back\\slash", "back\\\\slash"),
        ("two\nlines\tand   blanks ", "two lines and blanks"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@given(st.text())
def test_clean_keeps_one_line_that_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert "\n" not in cleaned
    assert "\0" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == cleaned


@given(st.text(alphabet=st.characters(codec="utf-8")), st.integers(2, 200))
def test_quotes_fit_and_end_whole(text: str, limit: int) -> None:
    quoted = quote(text, limit)
    assert len(quoted) <= limit
    body = quoted.removesuffix("…")
    assert (len(body) - len(body.rstrip("\\"))) % 2 == 0


def test_joined_emoji_stay_whole() -> None:
    assert clean("👩‍🚀 in space") == "👩‍🚀 in space"


@pytest.mark.parametrize(
    "text",
    [
        "👨🏽‍🦰",  # a skin tone before the joiner
        "👁️‍🗨️",
        "🏴‍☠️",
        "🙂‍↔️",  # an arrow is a mathematical sign
        "🩷‍🔥",  # newer than Python's tables
        "❤️ 1️⃣ ℹ️ 〰️ ‼️",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿",  # Scotland
        "می‌خواهم",  # Persian
        "क्‍ष",  # Hindi
        "ന്‍",  # Malayalam, a joiner at the end
        "辻󠄀",  # a variant of an ideograph
        "é ñ",
        "؀ ١",  # an Arabic sign of the category of invisible ones
    ],
)
def test_what_is_written_with_invisible_characters_stays_whole(text: str) -> None:
    assert clean(text) == text


NOTHING = {
    "blanks of no width": "\u200b\u200b",
    "word joiners": "\u2060\ufeff",
    "Hangul fillers": "\u3164 \uffa0\u115f\u1160",
    "an empty braille pattern": "\u2800\u2800",
    "tag letters": "".join(chr(0xE0000 + ord(letter)) for letter in "a cat"),
    "a language tag": "\U000e0001",
    "variation selectors": "\ufe0f\ufe0e\U000e0100",
    "joiners": "\u200d\u200c\u200d",
    "a selector on a blank": " \ufe0f\u200d \u200c",
    "soft hyphens": "\u00ad\u00ad",
    "operators": "\u2061\u2062\u2063\u2064",
    "deprecated ones": "\u206a\u206f\u17b4\u17b5\u034f",
    "Mongolian ones": "\u180b\u180e\u180f",
    "shorthand and music": "\U0001bca0\U0001d173\U0001d159",
    "annotations": "\ufff9\ufffa\ufffb\ufffc",
    "ones that are not assigned yet": "\u2065\ufff0\U000e0fff",
    "directions": "\u202e\u200f\u2066\u2069\u061c",
    "blanks": "\u00a0\u3000\u2003\u1680",
}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING)
def test_a_prompt_that_shows_nothing_is_empty(text: str) -> None:
    assert clean(text) == ""
    with pytest.raises(UserError, match="The prompt is empty"):
        checked_prompt(text, 500)


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING)
def test_what_shows_nothing_hides_in_no_word(text: str) -> None:
    assert "".join(clean(f"ca{text}t").split()) == "cat"


@given(
    st.text(
        alphabet=st.sampled_from(
            "a 🙂❤क्می🏴\u200d\u200c\ufe0f\u200b\ufffc\u2800\x00☠\U000e0067\U000e007f"
        )
    )
)
def test_cleaning_again_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_megabytes() -> None:
    assert megabytes(12_345_678) == "12.3 MB"


@pytest.mark.parametrize("size", ["512x320", " 512 × 320 ", "512X320", "512*320"])
def test_sizes(size: str) -> None:
    assert parsed_size(size) == (512, 320)


@pytest.mark.parametrize("size", [None, "", " "])
def test_no_size(size: str | None) -> None:
    assert parsed_size(size) == (None, None)


@pytest.mark.parametrize("size", ["512", "x", "-1x5", "512x", "9999999x1", "1.5x2"])
def test_no_sizes(size: str) -> None:
    with pytest.raises(UserError, match="512x320"):
        parsed_size(size)


def test_the_limit_counts_what_is_left() -> None:
    assert checked_prompt(" a \n cat ", 5) == "a cat"
    with pytest.raises(UserError, match="6 characters; at most 5"):
        checked_prompt("a cats", 5)


def test_seeds_are_in_range() -> None:
    seeds = {random_seed() for _ in range(100)}
    assert len(seeds) > 90
    assert all(0 <= seed < 2**32 for seed in seeds)
