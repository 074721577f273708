"""The HTTP interface, as far as the bot uses it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.loopback_discord.state import (
    APPLICATION_ID,
    BOT_ID,
    EPHEMERAL,
    GUILD_ID,
    LOADING,
    PERMISSIONS,
    Attachment,
    Call,
    Interaction,
    Message,
    State,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Hook = Callable[[Call, bool], Awaitable[int | None]]
"""Told of each call before and after it took effect (True); a number is answered as an error."""

PREFIX = "/api/v10"


class _Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, code: int = 0) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class Rest:
    """Answers calls and changes the state. `hook` may refuse one, or end the bot in its midst.

    `session_starts` is what GET /gateway/bot says of the sessions that may be started.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.hook: Hook | None = None
        self.gateway_url = ""
        self.session_starts: dict[str, int] = {
            "total": 1000,
            "remaining": 1000,
            "reset_after": 86_400_000,
            "max_concurrency": 1,
        }

    def routes(self) -> list[web.RouteDef]:
        channel, webhook = "/channels/{channel}/messages", "/webhooks/{app}/{token}"
        table: list[tuple[str, str, Callable[[web.Request, Call, list[Any]], Any]]] = [
            ("GET", "/users/@me", self._me),
            ("GET", "/users/{user}", self._user),
            ("GET", "/users/@me/guilds", self._guilds),
            ("POST", "/users/@me/channels", self._direct),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/gateway/bot", self._gateway_bot),
            ("GET", "/applications/{app}/commands", self._commands),
            ("PUT", "/applications/{app}/commands", self._put_commands),
            ("GET", "/applications/{app}/guilds/{guild}/commands", self._commands),
            ("PUT", "/applications/{app}/guilds/{guild}/commands", self._put_commands),
            ("POST", "/interactions/{id}/{token}/callback", self._callback),
            ("GET", webhook + "/messages/@original", self._original),
            ("PATCH", webhook + "/messages/@original", self._edit_original),
            ("DELETE", webhook + "/messages/@original", self._delete_original),
            ("GET", webhook + "/messages/{message}", self._get_by_token),
            ("PATCH", webhook + "/messages/{message}", self._edit_by_token),
            ("DELETE", webhook + "/messages/{message}", self._delete_by_token),
            ("POST", webhook, self._follow_up),
            ("GET", channel, self._history),
            ("POST", channel, self._send),
            ("GET", channel + "/{message}", self._get),
            ("PATCH", channel + "/{message}", self._edit),
            ("DELETE", channel + "/{message}", self._delete),
            ("PUT", channel + "/{message}/reactions/{emoji}/@me", self._react),
            ("DELETE", channel + "/{message}/reactions/{emoji}/{user}", self._take_reaction),
            ("GET", channel + "/{message}/reactions/{emoji}", self._reactors),
        ]
        # Fixed parts first: "@me" is no id.
        table.sort(key=lambda row: row[1].count("{"))
        return [web.route(method, PREFIX + path, self._door(do)) for method, path, do in table]

    def _door(self, do: Callable[[web.Request, Call, list[Any]], Any]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            payload, files = await _body(request)
            names = tuple(name for name, _ in files)
            path = request.path.removeprefix(PREFIX)
            call = Call(request.method, path, payload, names, time.monotonic())
            self._state.calls.append(call)
            try:
                await self._tell(call, done=False)
                largest = max((len(content) for _, content in files), default=0)
                if largest > self._state.upload_limit:
                    raise _Refused(413, 40005)
                answer = do(request, call, files)
                await self._tell(call, done=True)
            except _Refused as refused:
                words = {"message": "refused by the test", "code": refused.code}
                headers = {"Retry-After": "0.05"} if refused.status == 429 else {}
                if refused.status == 429:
                    words |= {"retry_after": 0.05, "global": False}
                return _json(words, refused.status, headers)
            return web.Response(status=204) if answer is None else _json(answer)

        return handle

    async def _tell(self, call: Call, *, done: bool) -> None:
        if self.hook is not None and (status := await self.hook(call, done)) is not None:
            raise _Refused(status)

    # ------------------------------------------------------------------ who is who

    def _me(self, *_: Any) -> Any:
        return self._state.user(BOT_ID)

    def _user(self, request: web.Request, *_: Any) -> Any:
        return self._state.user(int(request.match_info["user"]))

    def _guilds(self, *_: Any) -> Any:
        return [{"id": str(GUILD_ID), "name": "Floor33", "permissions": PERMISSIONS}]

    def _direct(self, _request: web.Request, call: Call, _files: Any) -> Any:
        user, channels = int(call.payload["recipient_id"]), self._state.direct_channels
        return self._state.channel(channels.setdefault(user, 9_000_000 + user))

    def _application(self, *_: Any) -> Any:
        known = {"icon": None, "description": "", "bot_public": True, "verify_key": ""}
        more = {"bot_require_code_grant": False, "flags": 0, "team": None, "name": "Floor33"}
        return {"id": str(APPLICATION_ID), "owner": self._state.user(BOT_ID), **known, **more}

    def _gateway_bot(self, *_: Any) -> Any:
        return {"url": self.gateway_url, "shards": 1, "session_start_limit": self.session_starts}

    def _commands(self, request: web.Request, *_: Any) -> Any:
        if (guild := request.match_info.get("guild")) is None:
            return self._state.commands
        return self._state.guild_commands.get(int(guild), [])

    def _put_commands(self, request: web.Request, call: Call, _files: Any) -> Any:
        known = {"application_id": str(APPLICATION_ID), "version": "1"}
        guild = request.match_info.get("guild")
        if guild is not None:
            known["guild_id"] = guild
        made = [
            {"id": str(number), "default_member_permissions": None, **known, **command}
            for number, command in enumerate(call.payload["list"], start=7_001)
        ]
        if guild is None:
            self._state.commands = made
        else:
            self._state.guild_commands[int(guild)] = made
        return made

    # ---------------------------------------------------------------- interactions

    def _callback(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        interaction = self._interaction(request.match_info["token"])
        if interaction.acknowledged_at is not None:
            raise _Refused(400, 40060)
        interaction.acknowledged_at = time.monotonic()
        kind, data = call.payload["type"], call.payload.get("data") or {}
        if kind in (4, 5):
            message = self._new(interaction.channel_id, data, files)
            message.flags |= LOADING if kind == 5 else 0
            interaction.message_id = message.id
        shown = {"id": str(interaction.id), "type": 2}
        message_id = interaction.message_id
        if message_id is None or message_id not in self._state.messages:
            return {"interaction": shown}
        shown["response_message_id"] = str(message_id)
        found = self._state.message(self._state.messages[message_id])
        return {"interaction": shown, "resource": {"type": kind, "message": found}}

    def _original(self, request: web.Request, *_: Any) -> Any:
        return self._state.message(self._original_message(request))

    def _edit_original(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        return self._change(self._original_message(request), call, files)

    def _delete_original(self, request: web.Request, *_: Any) -> None:
        del self._state.messages[self._original_message(request).id]

    def _get_by_token(self, request: web.Request, *_: Any) -> Any:
        return self._state.message(self._message_by_token(request))

    def _edit_by_token(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        return self._change(self._message_by_token(request), call, files)

    def _delete_by_token(self, request: web.Request, *_: Any) -> None:
        del self._state.messages[self._message_by_token(request).id]

    def _follow_up(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        interaction = self._interaction(request.match_info["token"])
        thinking = self._state.messages.get(interaction.message_id or 0)
        if thinking is not None and thinking.flags & LOADING:
            # The first answer takes the place of "thinking", and is seen by whom that was for.
            return self._change(thinking, call, files)
        return self._state.message(self._new(interaction.channel_id, call.payload, files))

    def _interaction(self, token: str) -> Interaction:
        interaction = self._state.interactions.get(token)
        if interaction is None or interaction.dead:
            raise _Refused(404, 10015)
        return interaction

    def _message_by_token(self, request: web.Request) -> Message:
        interaction = self._interaction(request.match_info["token"])
        message = self._state.messages.get(int(request.match_info["message"]))
        if message is None or message.channel_id != interaction.channel_id:
            raise _Refused(404, 10008)
        return message

    def _original_message(self, request: web.Request) -> Message:
        number = self._interaction(request.match_info["token"]).message_id
        message = self._state.messages.get(number or 0)
        if message is None:
            raise _Refused(404, 10008)
        return message

    # -------------------------------------------------------------------- messages

    def _history(self, request: web.Request, *_: Any) -> Any:
        channel = self._channel(request)
        after, before = (int(request.query.get(k, d)) for k, d in (("after", 0), ("before", 2**63)))
        found = [
            m for m in self._state.shown() if m.channel_id == channel and after < m.id < before
        ]
        newest = sorted(found, key=lambda m: m.id, reverse=True)[: int(request.query["limit"])]
        return [self._state.message(m) for m in newest]

    def _send(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        channel, payload = self._channel(request), call.payload
        nonce = payload.get("nonce") if payload.get("enforce_nonce") else None
        if nonce is not None:
            for known in self._state.messages.values():
                if known.nonce == str(nonce):
                    return self._state.message(known)
        message = self._new(channel, payload, files)
        message.nonce = None if nonce is None else str(nonce)
        reference = payload.get("message_reference")
        message.reference = None if reference is None else int(reference["message_id"])
        return self._state.message(message)

    def _get(self, request: web.Request, *_: Any) -> Any:
        return self._state.message(self._message(request))

    def _edit(self, request: web.Request, call: Call, files: list[Any]) -> Any:
        return self._change(self._message(request), call, files)

    def _delete(self, request: web.Request, *_: Any) -> None:
        del self._state.messages[self._message(request).id]

    def _react(self, request: web.Request, *_: Any) -> None:
        name = unquote(request.match_info["emoji"])
        self._message(request).reactions.setdefault(name, set()).add(BOT_ID)

    def _take_reaction(self, request: web.Request, *_: Any) -> None:
        name, user = unquote(request.match_info["emoji"]), request.match_info["user"]
        message, number = self._message(request), BOT_ID if user == "@me" else int(user)
        for reactions in (message.reactions, message.super_reactions):
            reactions.get(name, set()).discard(number)

    def _reactors(self, request: web.Request, *_: Any) -> Any:
        name, message = unquote(request.match_info["emoji"]), self._message(request)
        burst = request.query.get("type") == "1"
        reactions = message.super_reactions if burst else message.reactions
        after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 25))
        users = sorted(user for user in reactions.get(name, ()) if user > after)
        return [self._state.user(user) for user in users[:limit]]

    def _channel(self, request: web.Request) -> int:
        channel = int(request.match_info["channel"])
        known = {*self._state.channels, *self._state.direct_channels.values()}
        if channel in self._state.gone_channels or channel not in known:
            raise _Refused(404, 10003)
        return channel

    def _message(self, request: web.Request) -> Message:
        channel = self._channel(request)
        message = self._state.messages.get(int(request.match_info["message"]))
        if message is None or message.channel_id != channel:
            raise _Refused(404, 10008)
        return message

    def _new(self, channel: int, payload: dict[str, Any], files: list[Any]) -> Message:
        message = Message(self._state.snowflake(), channel)
        message.flags = payload.get("flags", 0) & EPHEMERAL
        self._state.messages[message.id] = message
        self._fill(message, payload, files)
        return message

    def _change(self, message: Message, call: Call, files: list[Any]) -> Any:
        message.flags &= ~LOADING
        message.edits += 1
        self._fill(message, call.payload, files)
        return self._state.message(message)

    def _fill(self, message: Message, payload: dict[str, Any], files: list[Any]) -> None:
        message.content = payload.get("content", message.content) or ""
        message.embeds = payload.get("embeds", message.embeds)
        message.components = payload.get("components", message.components)
        uploaded = [Attachment.of(self._state.snowflake(), n, c) for n, c in files]
        if "attachments" in payload or uploaded:
            named = {str(a.get("id")) for a in payload.get("attachments") or ()}
            kept = [a for a in message.attachments if str(a.id) in named]
            message.attachments = kept + uploaded
        if uploaded:
            message.note_clip()


def _json(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # discord.py wants the bare type, without a charset.
    headers = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(answer).encode(), status=status, headers=headers)


async def _body(request: web.Request) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    if not request.can_read_body:
        return {}, []
    if not request.content_type.startswith("multipart/"):
        parsed = json.loads(await request.read() or b"{}")
        return (parsed if isinstance(parsed, dict) else {"list": parsed}), []
    payload: dict[str, Any] = {}
    files: list[tuple[str, bytes]] = []
    async for part in await request.multipart():
        content = bytes(await part.read())  # type: ignore[union-attr]
        if re.fullmatch(r"files\[\d+\]", part.name or ""):  # type: ignore[union-attr]
            files.append((part.filename or "file", content))  # type: ignore[union-attr]
        else:
            payload = json.loads(content)
    return payload, files
