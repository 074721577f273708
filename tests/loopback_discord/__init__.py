"""A small Discord over real HTTP and WebSocket, which outlives the bot that talks to it."""

from tests.loopback_discord.server import LoopbackDiscord
from tests.loopback_discord.state import Attachment, Call, Message, State

__all__ = ["Attachment", "Call", "LoopbackDiscord", "Message", "State"]
