"""What this Discord remembers."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

EPOCH_MS = 1_420_070_400_000
BOT_ID, APPLICATION_ID = 1_001, 1_001
GUILD_ID, CHANNEL_ID = 2_001, 3_001
PERMISSIONS = str(2**50 - 1)
LOADING, EPHEMERAL = 1 << 7, 1 << 6


@dataclass(frozen=True)
class Attachment:
    """A file of a message. `digest` is the SHA-256 of its bytes."""

    id: int
    name: str
    size: int
    digest: str

    @classmethod
    def of(cls, number: int, name: str, content: bytes) -> Attachment:
        return cls(number, name, len(content), hashlib.sha256(content).hexdigest())


@dataclass
class Message:
    """A message as it is now, and every clip that it ever showed."""

    id: int
    channel_id: int
    content: str = ""
    embeds: list[Any] = field(default_factory=list)
    components: list[Any] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    nonce: str | None = None
    reference: int | None = None
    reactions: dict[str, set[int]] = field(default_factory=dict)
    super_reactions: dict[str, set[int]] = field(default_factory=dict)
    edits: int = 0
    clips: list[str] = field(default_factory=list)
    """Names of the videos that were put on it, one for each time."""

    @property
    def clip(self) -> Attachment | None:
        return next((a for a in self.attachments if a.name.endswith(".mp4")), None)

    def note_clip(self) -> None:
        if self.clip is not None and not self.flags & EPHEMERAL:
            self.clips.append(self.clip.name)


@dataclass
class Interaction:
    """One command or click, from the moment it is sent to the bot."""

    id: int
    token: str
    channel_id: int
    user_id: int
    sent_at: float
    acknowledged_at: float | None = None
    message_id: int | None = None
    dead: bool = False


@dataclass(frozen=True)
class Call:
    """One request of the bot."""

    method: str
    path: str
    payload: dict[str, Any]
    files: tuple[str, ...]
    at: float


class State:
    """Users, messages, interactions and the calls that were made; used by one thread."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.interactions: dict[str, Interaction] = {}
        self.commands: list[Any] = []
        self.guild_commands: dict[int, list[Any]] = {}
        self.calls: list[Call] = []
        self.direct_channels: dict[int, int] = {}
        self.channels: set[int] = {CHANNEL_ID}
        self.gone_channels: set[int] = set()
        self.users = {number: f"user{number}" for number in range(5_001, 5_051)}
        self.upload_limit = 10 * 2**20
        self.told_limit = self.upload_limit  # what interactions say of it, right or wrong
        self._increments = itertools.count()

    def snowflake(self) -> int:
        """An id that tells the time, as Discord's do."""
        return (int(time.time() * 1000) - EPOCH_MS) << 22 | next(self._increments) % 2**22

    def shown(self) -> list[Message]:
        """The messages that everybody sees, oldest first."""
        return [m for _, m in sorted(self.messages.items()) if not m.flags & EPHEMERAL]

    # ------------------------------------------------------------- Discord's objects

    def user(self, user_id: int) -> dict[str, Any]:
        name = "Floor33" if user_id == BOT_ID else self.users[user_id]
        known = {"discriminator": "0", "global_name": None, "avatar": None}
        return {"id": str(user_id), "username": name, "bot": user_id == BOT_ID, **known}

    def member(self, user_id: int) -> dict[str, Any]:
        return {
            "user": self.user(user_id),
            "roles": [],
            "joined_at": "2024-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "flags": 0,
            "permissions": "0" if user_id != BOT_ID else PERMISSIONS,
        }

    def channel(self, channel_id: int = CHANNEL_ID) -> dict[str, Any]:
        if channel_id in self.direct_channels.values():
            (user,) = (u for u, c in self.direct_channels.items() if c == channel_id)
            return {"id": str(channel_id), "type": 1, "recipients": [self.user(user)]}
        return {
            "id": str(channel_id),
            "type": 0,
            "guild_id": str(GUILD_ID),
            "name": "studio",
            "position": 0,
            "permission_overwrites": [],
            "permissions": PERMISSIONS,
        }

    def guild(self) -> dict[str, Any]:
        everyone = {
            "id": str(GUILD_ID),
            "name": "@everyone",
            "permissions": PERMISSIONS,
            "position": 0,
            "color": 0,
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }
        return {
            "id": str(GUILD_ID),
            "name": "Floor33",
            "owner_id": "5001",
            "roles": [everyone],
            "emojis": [],
            "stickers": [],
            "features": [],
            "channels": [self.channel(number) for number in sorted(self.channels)],
            "threads": [],
            "members": [self.member(BOT_ID)],
            "member_count": len(self.users) + 1,
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "joined_at": "2024-01-01T00:00:00+00:00",
            "large": False,
            "unavailable": False,
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "system_channel_flags": 0,
            "afk_timeout": 300,
        }

    def interaction(
        self, made: Interaction, kind: int, data: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the INTERACTION_CREATE event of `made`; `kind` is Discord's interaction type."""
        event: dict[str, Any] = {
            "id": str(made.id),
            "application_id": str(APPLICATION_ID),
            "type": kind,
            "token": made.token,
            "version": 1,
            "data": data,
            "guild_id": str(GUILD_ID),
            "channel_id": str(made.channel_id),
            "channel": self.channel(made.channel_id),
            "member": self.member(made.user_id),
            "locale": "en-US",
            "guild_locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(GUILD_ID)},
            "context": 0,
            "attachment_size_limit": self.told_limit,
            "app_permissions": str(2**50 - 1),
        }
        if made.message_id is not None and made.message_id in self.messages:
            event["message"] = self.message(self.messages[made.message_id])
        return event

    def ask(
        self, user_id: int, message_id: int | None = None, channel_id: int = CHANNEL_ID
    ) -> Interaction:
        """Make an interaction of the user, with the message whose button it clicks."""
        number = self.snowflake()
        made = Interaction(
            number, f"token-{number}", channel_id, user_id, time.monotonic(), message_id=message_id
        )
        self.interactions[made.token] = made
        return made

    def message(self, message: Message) -> dict[str, Any]:
        return {
            "id": str(message.id),
            "channel_id": str(message.channel_id),
            "author": self.user(BOT_ID),
            "content": message.content,
            "timestamp": "2024-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [
                {
                    "id": str(a.id),
                    "filename": a.name,
                    "size": a.size,
                    "url": f"http://127.0.0.1/attachments/{a.id}/{a.name}",
                    "proxy_url": f"http://127.0.0.1/attachments/{a.id}/{a.name}",
                }
                for a in message.attachments
            ],
            "embeds": message.embeds,
            "components": message.components,
            "reactions": _reactions(message),
            "pinned": False,
            "type": 0,
            "flags": message.flags,
            **({"nonce": message.nonce} if message.nonce else {}),
        }


def _reactions(message: Message) -> list[dict[str, Any]]:
    found = []
    for name in dict.fromkeys((*message.reactions, *message.super_reactions)):
        normal = message.reactions.get(name, set())
        burst = message.super_reactions.get(name, set())
        if not (normal or burst):
            continue
        found.append(
            {
                "emoji": {"id": None, "name": name},
                "count": len(normal) + len(burst),
                "me": BOT_ID in normal,
                "count_details": {"burst": len(burst), "normal": len(normal)},
                "me_burst": False,
                "burst_colors": [],
            }
        )
    return found
