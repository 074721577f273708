"""An OpenAI-compatible server on the loopback address, which answers as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from prompt_expansion import ExpansionSettings, PromptExpander, make_expander

KEY = "sk-a-secret-of-the-tests"


def completion(content: str | None, finish_reason: str = "stop") -> dict[str, Any]:
    """The body of a chat completion."""
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }


class ChatServer:
    """Keeps what it was asked, and gives the prepared answers, the last one again and again."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.base_url = ""
        self.asked = asyncio.Event()
        self._answers: list[tuple[int, str]] = []
        self._hangs = False

    def say(self, content: str | None, finish_reason: str = "stop") -> None:
        """Answer with a chat completion."""
        self.answer(200, json.dumps(completion(content, finish_reason)))

    def answer(self, status: int, body: str) -> None:
        """Answer with any status and body."""
        self._answers.append((status, body))

    def hang(self) -> None:
        """Take requests and never answer."""
        self._hangs = True

    def asked_prompt(self) -> str:
        """The prompt inside the last request's last message."""
        data = json.loads(self.requests[-1]["messages"][-1]["content"])
        assert set(data) == {"prompt"}
        return str(data["prompt"])

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        self.asked.set()
        if self._hangs:
            await asyncio.Event().wait()
        status, body = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        # "retry-after-ms" keeps the SDK's one retry from waiting.
        return web.Response(
            status=status,
            text=body,
            content_type="application/json",
            headers={"retry-after-ms": "1"},
        )


@pytest.fixture
async def chat_server() -> AsyncIterator[ChatServer]:
    chat = ChatServer()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat.handle)
    async with TestServer(application, host="127.0.0.1") as server:
        chat.base_url = str(server.make_url("/v1"))
        yield chat


MakeServerExpander = Callable[..., PromptExpander]


@pytest.fixture
async def expander_for(chat_server: ChatServer) -> AsyncIterator[MakeServerExpander]:
    """Makes expanders that ask ``chat_server``; settings may be overridden."""
    made: list[PromptExpander] = []

    def make(**overrides: Any) -> PromptExpander:
        chosen = {
            "backend": "openai",
            "base_url": chat_server.base_url,
            "model": "tiny",
            "api_key": KEY,
        }
        made.append(make_expander(ExpansionSettings(**(chosen | overrides))))
        return made[-1]

    yield make
    for expander in made:
        await expander.close()
