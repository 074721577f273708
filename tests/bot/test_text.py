"""Showing what strangers type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserError
from bot.orders import checked_prompt, parsed_size, random_seed
from bot.text import clean, duration, escape, megabytes, quote


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
