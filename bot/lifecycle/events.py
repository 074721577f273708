"""Reading the gateway's events: one that cannot be read costs that event and nothing else.

Discord adds keys and leaves them out as it likes, and discord.py reads each event as if all keys
were there. Keys that the bot can do without are filled in here before discord.py reads an event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import aiohttp
import discord
from discord.http import Route

from bot.errors import BotError
from bot.operations.metrics import Metrics
from bot.tasks import TaskSupervisor

logger = logging.getLogger(__name__)

UNREADABLE: Final = (
    "Discord sent this in a form that the bot cannot read. Try again; if that does not help, "
    "its operator can find more in the log."
)
LEAST_UPLOAD_LIMIT: Final = 10 * 2**20
"""The smallest size limit that Discord has for files, in bytes."""

_MAX_KEYS: Final = 20
_MAX_NAME: Final = 40
_COMMAND, _AUTOCOMPLETE = 2, 4
_ANSWER_MESSAGE, _ANSWER_CHOICES = 4, 8
_EPHEMERAL: Final = 1 << 6

Parser = Callable[[Any], None]


class UnreadableError(BotError):
    """An event lacks something that the bot cannot do without."""


class EventClient(Protocol):
    """The parts of the bot that are needed here."""

    http: discord.http.HTTPClient
    background: TaskSupervisor

    @property
    def application_id(self) -> int | None:
        """The bot's application, once it is logged in."""

    def still_in_charge(self) -> bool:
        """Return whether this bot, and no other, works on its data folder."""


class EventReader:
    """Wraps discord.py's parsers; skips what they cannot read, and answers interactions of it.

    Args:
        client: the bot.
        metrics: counts what is skipped.
    """

    def __init__(self, client: EventClient, metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics
        self._known: frozenset[str] = frozenset()

    def guard(self, parsers: dict[str, Parser]) -> None:
        """Wrap every parser in place.

        READY alone still raises: without it there is no session.
        """
        self._known = frozenset(parsers)
        for event, parse in tuple(parsers.items()):
            if event != "READY":
                parsers[event] = self._guarded(event, parse)

    def skip(self, event: object, data: object, error: Exception) -> None:
        """Log and count an event or packet that could not be read: its keys, never its values."""
        name = event if isinstance(event, str) else type(event).__name__
        self._metrics.event_skipped(name if name in self._known else "other")
        # The text of most exceptions quotes a value; a missing key is none.
        reason = repr(error) if isinstance(error, KeyError) else type(error).__name__
        logger.warning(
            "skipped what Discord sent, it cannot be read: %.40r with %s (%s)",
            name,
            _keys(data),
            reason,
        )

    def _guarded(self, event: str, parse: Parser) -> Parser:
        def read(data: Any) -> None:
            try:
                parse(self._mended(event, data))
            except Exception as error:  # noqa: BLE001 - whatever one event raises costs that event
                self.skip(event, data, error)
                if event == "INTERACTION_CREATE":
                    self._answer(data)

        return read

    def _mended(self, event: str, data: Any) -> Any:
        """Return the event's data with what the bot can do without filled in."""
        if not isinstance(data, dict):
            return data
        match event:
            case "INTERACTION_CREATE":
                return _interaction(data, self._client.application_id)
            case "MESSAGE_REACTION_ADD" | "MESSAGE_REACTION_REMOVE":
                return _reaction(data)
            case "MESSAGE_DELETE" | "MESSAGE_DELETE_BULK":
                return {"channel_id": "0"} | _without_nulls(data)
            case _:
                return data

    def _answer(self, data: Any) -> None:
        """Tell the user of an interaction that it cannot be read, if it can be answered at all."""
        if not isinstance(data, Mapping):
            return
        number, token = str(data.get("id")), data.get("token")
        if not (number.isdecimal() and isinstance(token, str) and token):
            return
        answer: dict[str, Any] = {
            "type": _ANSWER_MESSAGE,
            "data": {"content": UNREADABLE, "flags": _EPHEMERAL},
        }
        if data.get("type") == _AUTOCOMPLETE:
            answer = {"type": _ANSWER_CHOICES, "data": {"choices": []}}

        async def send() -> None:
            if not self._client.still_in_charge():
                return
            route = Route(
                "POST",
                "/interactions/{interaction_id}/{interaction_token}/callback",
                interaction_id=number,
                interaction_token=token,
            )
            try:
                await self._client.http.request(route, json=answer)
            except (discord.DiscordException, aiohttp.ClientError, OSError, ValueError) as error:
                logger.warning("interaction %s could not be answered: %s", number, error)

        self._client.background.submit(send)


def _interaction(data: dict[str, Any], application_id: int | None) -> dict[str, Any]:
    """Return the interaction without what discord.py might stumble over and the bot never uses.

    Raises UnreadableError: nobody asked, or a command has no name.
    """
    mended = {"version": 1, "application_id": application_id} | _without_nulls(data)
    limit = mended.get("attachment_size_limit")
    if not isinstance(limit, int) or limit <= 0:
        mended["attachment_size_limit"] = LEAST_UPLOAD_LIMIT
    mended["entitlements"] = []
    mended.pop("entitlement_skus", None)
    channel = mended.get("channel")
    if not isinstance(channel, dict) or "id" not in channel:
        number = mended.get("channel_id")
        mended["channel"] = {} if number is None else {"id": number}
    owners = mended.get("authorizing_integration_owners")
    mended["authorizing_integration_owners"] = {
        kind: owner
        for kind, owner in (owners.items() if isinstance(owners, dict) else ())
        if str(kind).isdecimal() and str(owner).isdecimal()
    }
    for key, kind in (("locale", str), ("guild_locale", str), ("guild", dict), ("context", int)):
        if not isinstance(mended.get(key, kind()), kind):
            del mended[key]
    if not str(mended.get("app_permissions", 0)).isdecimal():
        del mended["app_permissions"]
    if "guild_id" in mended:
        member = mended.get("member")
        if not isinstance(member, dict) or not isinstance(member.get("user"), dict):
            raise UnreadableError("nobody asked")
        mended["member"] = {"roles": []} | _without_nulls(member)
    elif not isinstance(mended.get("user"), dict):
        raise UnreadableError("nobody asked")
    if mended.get("type") in (_COMMAND, _AUTOCOMPLETE):
        command = mended.get("data")
        if not isinstance(command, dict) or not isinstance(command.get("name"), str):
            raise UnreadableError("no command")
    return mended


def _reaction(data: dict[str, Any]) -> dict[str, Any]:
    mended = {"type": 1 if data.get("burst") is True else 0} | _without_nulls(data)
    member = mended.get("member")
    if not isinstance(member, dict) or not isinstance(member.get("user"), dict):
        mended.pop("member", None)
    return mended


def _without_nulls(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _keys(data: object) -> str:
    if not isinstance(data, Mapping):
        return f"no keys but {type(data).__name__}"
    names = [str(key)[:_MAX_NAME] for key in list(data)[:_MAX_KEYS]]
    return f"the keys {', '.join(sorted(names))}" if names else "no keys"
