"""The backends that need nothing: rules, and none."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_expansion import Expansion, ExpansionSettings, make_expander
from prompt_expansion.tokens import TOKEN_BUDGET, estimate_tokens


def expand(prompt: str, backend: str = "offline", **options) -> Expansion:
    return asyncio.run(make_expander(ExpansionSettings(backend=backend), **options).expand(prompt))


def test_a_short_prompt_gains_neutral_words():
    expansion = expand("a cat surfing")

    assert expansion == Expansion(
        text="a cat surfing, smooth natural motion, steady camera, soft even light, clear detail",
        original="a cat surfing",
        tokens=estimate_tokens(expansion.text),
        backend="offline",
        language="en",
        fallback=None,
    )


@pytest.mark.parametrize(
    ("prompt", "unsaid"),
    [
        ("a neon street at night", "light"),
        ("drone shot of a waterfall", "steady camera"),
        ("timelapse of a blooming rose", "motion"),
        ("a fox, watercolor style", "detail"),
    ],
)
def test_what_the_user_decided_is_left_alone(prompt, unsaid):
    added = expand(prompt).text.removeprefix(prompt)

    assert added
    assert unsaid not in added


def test_a_long_prompt_is_left_alone():
    prompt = "an old fisherman mends a torn net on the pier " * 4

    assert expand(prompt).text == prompt


@pytest.mark.parametrize("prompt", ["", "  ", "\n\n"])
def test_nothing_gains_nothing(prompt):
    assert expand(prompt).text == prompt


def test_a_sentence_is_not_followed_by_a_comma():
    assert expand("A cat surfs.").text.startswith("A cat surfs. smooth")


def test_terms_that_do_not_fit_are_left_out():
    # A counter that finds each word to be ten tokens: three words and two pairs reach the budget.
    expansion = expand("a cat surfing", count_tokens=lambda text: 10 * len(text.split()))

    assert expansion.text == "a cat surfing, smooth natural motion"
    assert expansion.tokens == 60


@given(st.text(max_size=300))
def test_the_users_words_come_first_whatever_they_are(prompt):
    expansion = expand(prompt)

    assert expansion.text.startswith(prompt.rstrip())
    assert expansion.original == prompt
    assert expansion.text == prompt or expansion.tokens <= TOKEN_BUDGET
    assert expand(prompt) == expansion


@given(st.text(max_size=300))
def test_none_changes_nothing(prompt):
    expansion = expand(prompt, backend="none")

    assert (expansion.text, expansion.original, expansion.backend) == (prompt, prompt, "none")
