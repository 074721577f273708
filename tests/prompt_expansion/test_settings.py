"""Settings refuse what cannot work, by name."""

import pytest

from prompt_expansion import ExpansionSettings, ExpansionSettingsError

SERVER = {"backend": "openai", "base_url": "http://127.0.0.1:8080/v1", "model": "tiny"}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"backend": "magic"}, "backend"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 100_000}, "max_tokens"),
        (SERVER | {"model": None}, "model"),
        (SERVER | {"base_url": "127.0.0.1:8080"}, "base_url"),
        (SERVER | {"base_url": "file:///etc/passwd"}, "base_url"),
        (SERVER | {"base_url": "http://"}, "base_url"),
        (SERVER | {"base_url": "http://host:99999/v1"}, "base_url"),
        (SERVER | {"base_url": "http://[::1/v1"}, "base_url"),
        (SERVER | {"base_url": "http://a b/v1"}, "base_url"),
        (SERVER | {"base_url": "https://me:hunter2@host/v1"}, "base_url"),
        (SERVER | {"base_url": None}, "api_key"),
        (SERVER | {"base_url": "https://api.openai.com/v1"}, "api_key"),
        (SERVER | {"api_key": "line\nbreak"}, "api_key"),
        (SERVER | {"api_key": "schlüssel"}, "api_key"),
        (SERVER | {"api_key": ""}, "api_key"),
    ],
)
def test_wrong_values_are_refused_by_name(values, key):
    with pytest.raises(ExpansionSettingsError, match=rf"^{key} must ") as refused:
        ExpansionSettings(**values)

    assert refused.value.key == key


def test_a_local_server_needs_no_key():
    assert ExpansionSettings(**SERVER).api_key is None


def test_a_key_that_nobody_uses_is_not_looked_at():
    assert ExpansionSettings(backend="offline", api_key="line\nbreak").backend == "offline"


def test_the_key_is_not_shown():
    assert "sk-secret" not in repr(ExpansionSettings(**SERVER, api_key="sk-secret"))
