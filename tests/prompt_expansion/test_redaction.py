"""What a log may show of a server's own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_expansion.redaction import for_log

KEY = "local-key-4711-of-mine"


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        (f"Incorrect API key provided: {KEY}.", "4711"),
        ("Incorrect API key provided: local-key-47**********ine", "local-key"),
        ("Incorrect key ...of-mine", "of-mine"),
        ("Invalid key sk-proj-abc", "abc"),
        ("Authorization: Bearer hunter2", "hunter2"),
        ('{"api_key": "hunter2"}', "hunter2"),
        ("x-api-key=hunter2&model=tiny", "hunter2"),
        ("GET https://me:hunter2@host/v1", "hunter2"),
        ("token 8f14e45fceea167a5a36dedd4bea2543 expired", "8f14e"),
        ("session 550e8400-e29b-41d4-a716-446655440000", "550e8400"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJ"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSF"),
        ("QWERTYUIOPASDFGHJKLZXCVBNMQWERTY", "QWERTY"),
    ],
)
def test_secrets_are_blacked_out(words, secret):
    shown = for_log(words, (KEY,))

    assert secret not in shown
    assert "[hidden]" in shown


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'max_tokens', use 'max_completion_tokens' instead.",
        'model "llama3.2" not found, try pulling it first',
        "This model's maximum context length is 2048 tokens",
        "jinja template error: System role not supported",
        "模型不存在",
    ],
)
def test_words_that_help_are_kept(words):
    assert for_log(words, (KEY,)) == words


def test_the_name_of_the_model_is_kept():
    name = "accounts/fireworks/models/llama-v3p1-8b-instruct-20240718"

    assert name in for_log(f"no model {name}.", (), (name,))


@given(st.text())
def test_whatever_is_said_becomes_one_short_plain_line(words):
    shown = for_log(words, (KEY,))

    assert len(shown) <= 301
    assert shown.isprintable()
