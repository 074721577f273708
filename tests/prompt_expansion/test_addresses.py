"""Addresses of servers: what is asked, who may have the key, what looks wrong."""

import pytest

from prompt_expansion.address import advice, base_urls, is_private, may_have_key, without_secrets
from prompt_expansion.transport import make_http_client


@pytest.mark.parametrize(
    ("base_url", "first"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("https://host/api/v3?a=1&b=2", "https://host/api/v3"),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://host/v1beta/openai", "https://host/v1beta/openai"),
        (
            "https://me.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
            "https://me.openai.azure.com/openai/deployments/gpt",
        ),
    ],
)
def test_what_is_asked_first(base_url, first):
    assert base_urls(base_url)[0] == first


def test_an_address_with_its_version_is_the_only_one():
    assert len(base_urls("https://host/v1")) == 1
    assert "http://host/v1" in base_urls("http://host")


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://host.example/v1", True),
        ("http://localhost:1/v1", True),
        ("http://LOCALHOST/v1", True),
        ("http://127.8.9.10/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://[::ffff:127.0.0.1]/v1", True),
        ("http://192.168.1.4/v1", False),
        ("http://ollama:11434/v1", False),
        ("http://localhost.example/v1", False),
        ("http://127.0.0.1.example/v1", False),
        ("http://[::ffff:8.8.8.8]/v1", False),
    ],
)
def test_who_may_have_the_key(base_url, expected):
    assert may_have_key(base_url) is expected


async def test_azure_gets_the_key_in_its_own_header():
    client = make_http_client("https://me.openai.azure.com/openai/deployments/gpt", "sk-1")

    assert client.headers["api-key"] == "sk-1"
    await client.aclose()


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://127.0.0.1/v1", True),
        ("http://10.1.2.3/v1", True),
        ("http://172.20.0.2/v1", True),
        ("http://100.64.0.1/v1", True),
        ("http://[fe80::1]/v1", True),
        ("http://ollama:11434/v1", True),
        ("http://box.local/v1", True),
        ("http://8.8.8.8/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_which_servers_are_asked_without_a_proxy(base_url, expected):
    assert is_private(base_url) is expected


@pytest.mark.parametrize(
    ("base_url", "has_key", "said"),
    [
        ("http://127.0.0.1:8080/v1", True, None),
        ("https://api.openai.com/v1", True, None),
        ("http://192.168.1.4/v1", False, None),
        ("https://me.openai.azure.com/openai/deployments/gpt", True, None),
        ("http://192.168.1.4/v1", True, "OPENAI_API_KEY is not sent"),
        ("http://127.0.0.1:11434", False, "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:11434/v1/chat/completions", False, "Leave out"),
    ],
)
def test_what_looks_wrong(base_url, has_key, said):
    told = advice(base_url, has_key=has_key)

    assert told is None if said is None else said in told


def test_addresses_are_shown_without_secrets():
    shown = without_secrets("https://me:hunter2@host:1/v1?key=hunter2#hunter2")

    assert shown == "https://host:1/v1?…"
