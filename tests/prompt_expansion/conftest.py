"""An OpenAI-compatible server on the loopback address, which answers as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from prompt_expansion import ExpansionSettings, PromptExpander, make_expander

KEY = "sk-a-secret-of-the-tests"

Content = str | list[Any] | None


def completion(content: Content, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    """The body of a chat completion; `more` goes into the message."""
    message = {"role": "assistant", "content": content, **more}
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
        self.headers: list[Mapping[str, str]] = []
        self.urls: list[str] = []
        self.keys: list[str] = []
        self.base_url = ""
        self.asked = asyncio.Event()
        self._answers: list[tuple[int, str | bytes, Mapping[str, str]]] = []
        self._complaints: list[tuple[Callable[[dict[str, Any]], bool], int, str]] = []
        self._hangs = False
        self._slot: asyncio.Semaphore | None = None
        self._takes_s = 0.0

    def say(self, content: Content, finish_reason: str = "stop", **more: Any) -> None:
        """Answer with a chat completion."""
        self.answer(200, json.dumps(completion(content, finish_reason, **more)))

    def answer(self, status: int, body: str | bytes, **headers: str) -> None:
        """Answer with any status, body and headers; an underscore is a dash in their names."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        # "retry-after-ms" keeps the one retry from waiting.
        self._answers.append((status, body, named or {"retry-after-ms": "1"}))

    def complain(
        self, about: Callable[[dict[str, Any]], bool], message: str, status: int = 400
    ) -> None:
        """Refuse requests that `about` is true of."""
        self._complaints.append((about, status, json.dumps({"error": {"message": message}})))

    def hang(self) -> None:
        """Take requests and never answer."""
        self._hangs = True

    def work(self, seconds: float, at_once: int) -> None:
        """Take some time for each request, and only so many at once."""
        self._slot, self._takes_s = asyncio.Semaphore(at_once), seconds

    def asked_prompt(self) -> str:
        """The prompt inside the last request's last message."""
        data = json.loads(self.requests[-1]["messages"][-1]["content"])
        assert set(data) == {"prompt"}
        return str(data["prompt"])

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.headers.append(request.headers)
        self.urls.append(request.path_qs)
        self.keys.append(request.headers.get("Authorization", ""))
        self.asked.set()
        if self._hangs:
            await asyncio.Event().wait()
        if self._slot is not None:
            async with self._slot:
                await asyncio.sleep(self._takes_s)
        for about, status, complaint in self._complaints:
            if about(self.requests[-1]):
                return web.Response(status=status, text=complaint, content_type="application/json")
        status, body, headers = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return web.Response(
            status=status,
            body=body.encode() if isinstance(body, str) else body,
            headers={"Content-Type": "application/json", **headers},
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
