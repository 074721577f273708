"""Getting along with servers that differ from OpenAI's, or saying why that is not possible."""

import asyncio
import gzip
import json
import logging
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from prompt_expansion import ExpansionSettings, make_expander

PROMPT = "two red cars racing"
RICH = "two red cars racing along a wet road, low tracking shot, evening light, smooth motion"
PRIVATE_VARIABLES = {
    "OPENAI_ORG_ID": "org-of-the-shell",
    "OPENAI_PROJECT_ID": "project-of-the-shell",
    "OPENAI_API_KEY": "key-of-the-shell",
    "OPENAI_ADMIN_KEY": "admin-key-of-the-shell",
    "OPENAI_WEBHOOK_SECRET": "webhook-of-the-shell",
    "AZURE_OPENAI_API_KEY": "azure-key-of-the-shell",
}
CUSTOM_HEADERS = [
    "X-Own: header-of-the-shell",
    "Authorization: Bearer header-of-the-shell",
    "OpenAI-Project: header-of-the-shell",
    "Host: header-of-the-shell",
    "Content-Type: multipart/form-data",
    "X-Own: kein gültiger Wert",
]
HEADERS = {
    "Host",
    "Connection",
    "Accept",
    "Accept-Encoding",
    "Content-Type",
    "User-Agent",
    "Content-Length",
}


@asynccontextmanager
async def anywhere(chat_server):
    """Let `chat_server` answer at every path; the address without a path."""
    application = web.Application()
    application.router.add_post("/{path:.*}", chat_server.handle)
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.INFO, logger="prompt_expansion")
    return caplog


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "reason"),
    [
        (429, "rate_limit_exceeded", "30", "too many requests"),
        (429, "rate_limit_exceeded", "1", "too many requests"),
        (429, "rate_limit_exceeded", "Wed, 21 Oct 2099 07:28:00 GMT", "too many requests"),
        (429, "rate_limit_exceeded", "soon", "too many requests"),
        (429, "insufficient_quota", "45", "used up its quota"),
        (503, "overloaded", "30", "(status 503)"),
        (402, "insufficient_balance", "30", "used up its quota"),
    ],
)
async def test_a_long_retry_after_is_not_sat_out(
    chat_server, expander_for, status, code, retry_after, reason
):
    """openai-node#1108, copilot-cli#2760."""
    body = json.dumps({"error": {"message": "Later", "code": code}})
    chat_server.answer(status, body, Retry_After=retry_after)

    async with asyncio.timeout(20):
        expansion = await expander_for(timeout_s=300).expand(PROMPT)

    assert reason in expansion.fallback
    assert len(chat_server.requests) == 1


async def test_a_used_up_quota_is_not_asked_again(chat_server, expander_for):
    chat_server.answer(429, '{"error": {"message": "You exceeded your current quota"}}')

    expansion = await expander_for().expand(PROMPT)

    assert "used up its quota" in expansion.fallback
    assert len(chat_server.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead."
        ),
        "[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens'), 'msg': 'Extra inputs'}]",
    ],
)
async def test_a_server_that_knows_another_limit(chat_server, expander_for, message):
    """dify#9746, MaxKB#3702."""
    chat_server.complain(lambda body: "max_tokens" in body, message)
    chat_server.say(RICH)
    expander = expander_for(max_tokens=300)

    assert (await expander.expand(PROMPT)).text == RICH
    assert (await expander.expand(PROMPT)).text == RICH

    # It is learned once.
    assert [body.get("max_completion_tokens") for body in chat_server.requests] == [None, 300, 300]


async def test_a_server_that_knows_no_limit(chat_server, expander_for):
    chat_server.complain(lambda body: "max_tokens" in body, "Unknown field max_tokens")
    chat_server.complain(
        lambda body: "max_completion_tokens" in body, "Unknown field max_completion_tokens", 422
    )
    chat_server.say(RICH)

    assert (await expander_for().expand(PROMPT)).text == RICH


@pytest.mark.parametrize(
    ("message", "largest"),
    [
        ("max_tokens is too large: this model supports at most 1024 completion tokens", 1024),
        ("This model's maximum context length is 2048 tokens. However, you requested 2300", 1448),
        ("max_tokens exceeds the context", 256),
    ],
)
async def test_a_model_with_a_small_context(chat_server, expander_for, message, largest):
    chat_server.complain(lambda body: body["max_tokens"] > largest, message)
    chat_server.say(RICH)

    assert (await expander_for(max_tokens=4096).expand(PROMPT)).text == RICH
    assert chat_server.requests[-1]["max_tokens"] == largest


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("System role not supported", 400),
        ("Conversation roles must alternate user/assistant/user/assistant/...", 500),
        ("Developer instruction is not enabled for models/gemma-3-4b-it", 400),
        ("Only user and assistant roles are supported, got system.", 422),
    ],
)
async def test_a_template_without_a_system_role(chat_server, expander_for, message, status):
    """vllm#2964, sglang#892: Gemma's template."""
    chat_server.complain(
        lambda body: any(item["role"] == "system" for item in body["messages"]), message, status
    )
    chat_server.say(RICH)

    assert (await expander_for().expand(PROMPT)).text == RICH

    first, *_, last = chat_server.requests[-1]["messages"]
    assert "Keep every word of the user" in first["content"]
    assert json.loads(last["content"]) == {"prompt": PROMPT}


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": RICH}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": RICH}],
        [RICH],
        [{"type": "output_text", "text": RICH[:20]}, {"type": "text", "text": RICH[20:]}],
    ],
)
async def test_content_in_parts(chat_server, expander_for, content):
    chat_server.say(content)

    assert (await expander_for().expand(PROMPT)).text == RICH


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1/", "/v1/chat/completions", "/chat/completions", "/v1/models", "//v1", "/api"],
)
async def test_addresses_as_people_give_them(chat_server, expander_for, path):
    """ollama#2474, litellm#8010, llmcord#56."""
    chat_server.say(RICH)
    root = chat_server.base_url.removesuffix("/v1")
    expander = expander_for(base_url=f"{root}{path}")

    assert (await expander.expand(PROMPT)).text == RICH


async def test_several_people_at_once_find_the_address(chat_server, expander_for):
    chat_server.say(RICH)
    expander = expander_for(base_url=chat_server.base_url.removesuffix("/v1"))

    expansions = await asyncio.gather(*(expander.expand(PROMPT) for _ in range(6)))

    assert [expansion.text for expansion in expansions] == [RICH] * 6


@pytest.mark.parametrize(
    "query",
    ["api-version=2024-10-21", "a=1&b=2", "a=1&a=2", "sig=a%2Bb%20c", "flag", "a[b]=1"],
)
async def test_a_query_string_stays_at_the_end(chat_server, expander_for, query):
    chat_server.say(RICH)

    await expander_for(base_url=f"{chat_server.base_url}?{query}").expand(PROMPT)

    assert chat_server.urls == [f"/v1/chat/completions?{query}"]


async def test_a_deployment_is_asked_below_its_own_path(chat_server, expander_for):
    chat_server.answer(404, "{}")
    path = "/openai/deployments/gpt"

    async with anywhere(chat_server) as root:
        await expander_for(base_url=f"{root}{path}?api-version=2024-10-21").expand(PROMPT)

    assert chat_server.urls[0] == f"{path}/chat/completions?api-version=2024-10-21"


async def test_an_unknown_model_is_no_unknown_address(chat_server, expander_for, warnings):
    chat_server.answer(404, '{"error": {"message": "model \\"tiny\\" not found, pull it first"}}')

    expansion = await expander_for().expand(PROMPT)

    assert "does not know the address or the model" in expansion.fallback
    assert 'model "tiny" not found, pull it first' in warnings.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"error": {"message": "Provider returned error", "code": 502}}', "(status 502)"),
        ('{"error": {"message": "Slow down", "code": 429}}', "too many requests"),
        ('{"error": "model not loaded"}', "answered with an error"),
        ('{"detail": "Not authenticated"}', "answered with an error"),
        ('{"choices": [{"message": {"content": "x"}, "error": {"code": 502}}]}', "(status 502)"),
    ],
)
async def test_an_error_with_status_200(chat_server, expander_for, body, reason):
    chat_server.answer(200, body)

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == PROMPT
    assert reason in expansion.fallback


@pytest.mark.parametrize(
    ("content", "finish_reason"),
    [("", "length"), (None, "length"), ("", "max_tokens"), ("<think>Okay, the user", "length")],
)
async def test_reasoning_that_used_up_the_limit(
    chat_server, expander_for, warnings, content, finish_reason
):
    """open-pencil#454, nest-server#607."""
    chat_server.say(content, finish_reason, reasoning_content="Okay, the user wants " * 20)

    expansion = await expander_for(max_tokens=77).expand(PROMPT)

    assert expansion.text == PROMPT
    assert "token limit" in expansion.fallback
    assert "all 77 tokens were used up" in warnings.text
    assert "max_tokens" in warnings.text


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [
        ("content_filter", "declined"),
        ("SAFETY", "declined"),
        ("sensitive", "declined"),
        ("error", "did not finish"),
        ("abort", "did not finish"),
        ("tool_calls", "did not finish"),
    ],
)
async def test_an_answer_that_ended_otherwise_is_not_used(
    chat_server, expander_for, finish_reason, reason
):
    chat_server.say(RICH, finish_reason)

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == PROMPT
    assert reason in expansion.fallback


async def test_a_refusal_in_its_own_field(chat_server, expander_for):
    chat_server.say("", refusal="I cannot help with that.")

    assert "declined" in (await expander_for().expand(PROMPT)).fallback


async def test_a_moved_server_is_not_followed(chat_server, expander_for, warnings):
    chat_server.answer(308, "", Location="http://elsewhere.example/v1?key=hunter2")

    expansion = await expander_for().expand(PROMPT)

    assert "has moved" in expansion.fallback
    assert "http://elsewhere.example/v1" in warnings.text
    assert "hunter2" not in warnings.text


@pytest.mark.parametrize("location", ["http://[::1", "http://elsewh\u00ebre.example/v1", "", "/v2"])
async def test_an_odd_address_to_move_to(chat_server, expander_for, location):
    chat_server.answer(302, "", Location=location)

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == PROMPT
    assert "has moved" in expansion.fallback
    assert len(chat_server.requests) == 1


@pytest.mark.parametrize("charset", ["base64", "zip", "idna", "no-such", "utf-16"])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_odd_character_set(chat_server, expander_for, charset, status):
    chat_server.answer(status, b"\xff\xfe{", Content_Type=f"text/plain; charset={charset}")

    expansion = await expander_for().expand(PROMPT)

    assert expansion.text == PROMPT
    assert "no chat completion" in expansion.fallback or "(status 400)" in expansion.fallback


def packed(size: int, window_bits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    head = packer.compress(b'{"choices": [{"message": {"content": "')
    return b"".join([head, *(packer.compress(bytes(1024)) for _ in range(size // 1024))]) + (
        packer.flush()
    )


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, b'{"choices": [{"message": {"content": "' + b"a" * 2_000_000),
        ("gzip", packed(60_000_000, 31)),
        ("deflate", packed(60_000_000, 15)),
        ("br", b"\x00" * 100),
    ],
    ids=["plain", "gzip", "deflate", "unknown"],
)
async def test_a_huge_answer_takes_little_memory(chat_server, expander_for, encoding, body):
    headers = {} if encoding is None else {"Content_Encoding": encoding}
    chat_server.answer(200, body, Content_Type="application/json", **headers)
    expander = expander_for()

    tracemalloc.start()
    try:
        expansion = await expander.expand(PROMPT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert expansion.text == PROMPT
    assert "too large" in expansion.fallback or "not be read" in expansion.fallback
    assert peak < 20_000_000


async def test_a_packed_answer_is_read(chat_server, expander_for):
    body = json.dumps({"choices": [{"message": {"content": RICH}}]}).encode()
    chat_server.answer(200, gzip.compress(body), Content_Encoding="gzip")

    assert (await expander_for().expand(PROMPT)).text == RICH


@pytest.mark.parametrize("custom_headers", CUSTOM_HEADERS)
async def test_the_environment_stays_at_home(
    chat_server, expander_for, monkeypatch, custom_headers
):
    for name, value in PRIVATE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", custom_headers)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    chat_server.say(RICH)

    expansion = await expander_for(api_key=None).expand(PROMPT)

    assert expansion.text == RICH
    sent = json.dumps(dict(chat_server.headers[0])) + json.dumps(chat_server.requests[0])
    assert "of-the-shell" not in sent
    assert set(chat_server.headers[0]) == HEADERS


async def test_a_key_of_the_settings_is_not_replaced(chat_server, expander_for, monkeypatch):
    for name, value in PRIVATE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer header-of-the-shell")
    chat_server.say(RICH)

    await expander_for(api_key="sk-own").expand(PROMPT)

    assert chat_server.keys == ["Bearer sk-own"]
    assert set(chat_server.headers[0]) == HEADERS | {"Authorization"}
    assert chat_server.headers[0]["User-Agent"] == "Floor33"


@pytest.mark.parametrize(
    ("base_url", "keys"),
    [
        ("http://llm.example/v1", [""]),
        ("http://127.0.0.1.llm.example/v1", [""]),
        ("http://api.openai.com/v1", [""]),
    ],
)
async def test_no_key_in_clear_text(
    chat_server, expander_for, monkeypatch, warnings, base_url, keys
):
    """The proxy of the environment stands for everybody on the way to a public server."""
    monkeypatch.setenv("http_proxy", chat_server.base_url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    chat_server.answer(401, "{}")

    expansion = await expander_for(base_url=base_url).expand(PROMPT)

    assert chat_server.keys == keys
    assert "wants an API key and got none" in expansion.fallback
    assert "the key is not sent" in warnings.text


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x", "http://[::1"])
async def test_proxies_that_cannot_be_used(monkeypatch, proxy):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    settings = ExpansionSettings(
        backend="openai", base_url="https://llm.example/v1", model="tiny", timeout_s=5
    )
    expander = make_expander(settings)

    expansion = await expander.expand(PROMPT)

    await expander.close()
    assert "could not be reached" in expansion.fallback


async def test_the_log_has_the_servers_words_without_secrets(chat_server, expander_for, warnings):
    words = (
        "Template error at line 3\nkey sk-a-secret-of-the-tests, sk-a-sec***, Bearer abc123, "
        "id 8f14e45fceea167a5a36dedd4bea2543 \x1b[31mred " + "and so on " * 100
    )
    chat_server.answer(400, json.dumps({"error": {"message": words}}))

    expansion = await expander_for().expand(PROMPT)

    (record,) = warnings.records
    line = record.getMessage()
    assert "Template error at line 3" in line
    assert not [part for part in ("sk-a", "abc123", "8f14e4", "\x1b", "\n") if part in line]
    assert len(line) < 500
    assert "Template" not in expansion.fallback


async def test_nobody_runs_out_of_time_for_standing_in_line(chat_server, expander_for):
    """A local server with one slot."""
    chat_server.work(0.1, at_once=1)
    chat_server.say(RICH)
    expander = expander_for(timeout_s=1.5)

    expansions = await asyncio.gather(*(expander.expand(PROMPT) for _ in range(30)))

    assert [expansion.fallback for expansion in expansions] == [None] * 30


async def test_a_server_that_stands_still_is_not_waited_for_in_line(chat_server, expander_for):
    chat_server.hang()
    expander = expander_for(timeout_s=0.2)

    async with asyncio.timeout(20):
        expansions = await asyncio.gather(*(expander.expand(PROMPT) for _ in range(100)))

    assert all(expansion.fallback is not None for expansion in expansions)
    assert len(chat_server.requests) < 10


async def test_who_leaves_the_line_holds_nobody_up(chat_server, expander_for):
    chat_server.hang()
    expander = expander_for(timeout_s=60)
    waiting = [asyncio.create_task(expander.expand(PROMPT)) for _ in range(6)]
    await chat_server.asked.wait()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    chat_server._hangs = False
    chat_server.say(RICH)

    expansions = await asyncio.gather(*(expander.expand(PROMPT) for _ in range(3)))

    assert [expansion.text for expansion in expansions] == [RICH] * 3
