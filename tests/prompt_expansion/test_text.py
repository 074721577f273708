"""Language and token estimates, cleaning of whatever a server says."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_expansion.cleaning import clean_reply
from prompt_expansion.language import detect_language
from prompt_expansion.tokens import TOKEN_BUDGET, estimate_tokens
from prompt_expansion.truncation import truncate_to_budget, without_repeats


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a cat surfing", "en"),
        ("HELLO", "en"),
        ("3 balloons, no people", "en"),
        ("𝓪 𝓬𝓪𝓽", "en"),
        ("a poster that says 猫", "en"),
        ("一只戴墨镜的猫在冲浪", "zh"),
        ("夜の森を走る狐", "ja"),
        ("빨간 우산", "ko"),
        ("кот спит", "ru"),
        ("قطة بيضاء", "ar"),
        ("un perro rojo corre por la playa", "es"),
        ("ein alter Zug fährt durch den Schnee", "de"),
        ("une danseuse sous la pluie", "fr"),
        ("un gatto e due cani, niente persone", "it"),
        ("um barco azul no rio", "pt"),
        ("žluťoučký kůň", "und"),
        ("", "und"),
        ("🙂 123 !?", "und"),
    ],
)
def test_language(text, language):
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("text", "real"),
    # Counted with CLIP's own vocabulary.
    [
        ("a cat surfing", 5),
        ("drone shot of a waterfall", 7),
        ("一只戴墨镜的猫在冲浪", 28),
        ("кот спит на подоконнике", 24),
        ("Tom Cruise's face fills the screen, his eyes full of intensity and purpose.", 18),
    ],
)
def test_token_estimates_are_on_the_safe_side(text, real):
    assert real <= estimate_tokens(text) <= 2 * real


def test_an_empty_text_has_two_marks():
    assert estimate_tokens("") == 2


@given(st.text())
def test_cleaned_replies_are_one_plain_line(reply):
    text = clean_reply(reply)

    assert text == " ".join(text.split())
    assert not any(unicodedata.category(character) == "Cc" for character in text)


@given(st.text(), st.text(max_size=20))
def test_fitted_texts_fit(text, front):
    fitted = truncate_to_budget(front, text, estimate_tokens)

    assert not fitted or (fitted.startswith(front) and estimate_tokens(fitted) <= TOKEN_BUDGET)


def test_repeated_clauses_are_said_once_in_their_order():
    assert without_repeats("a cat, a hat, A cat, a mat, a hat.") == "a cat, a hat, a mat"
