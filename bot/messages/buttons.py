"""The buttons under a card; all that they need is in their id, so they outlive the process."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, cast

import discord

from bot.messages.acknowledge import acknowledge
from bot.messages.user_errors import report_internal_error, user_errors
from bot.protocols import BotClient

_ID = r"(?P<id>[0-9a-f]{32})"


class _ClientButton(ABC):
    """The base of the buttons: mistakes are answered, other errors logged and reported."""

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        """Rebuild the button from its custom id."""
        return cls(match["id"])  # type: ignore[call-arg]  # each of them is made from an id

    async def callback(self, interaction: discord.Interaction) -> None:
        bot = cast("BotClient", interaction.client)
        if not await bot.may_answer(interaction):
            return
        try:
            async with user_errors(interaction):
                await self.act(interaction, bot)
        except Exception as error:  # noqa: BLE001 - logged; discord.py would only log it
            await report_internal_error(interaction, error)

    @abstractmethod
    async def act(self, interaction: discord.Interaction, bot: BotClient) -> None:
        """Do what the button says."""


def _custom_id(action: str, subject_id: str) -> str:
    return f"floor33:{action}:{subject_id}"


def _button(
    action: str,
    subject_id: str,
    label: str,
    style: discord.ButtonStyle = discord.ButtonStyle.secondary,
    emoji: str | None = None,
) -> discord.ui.Button[Any]:
    """Return a button whose id says what it does, and to which clip or job."""
    return discord.ui.Button(
        label=label, emoji=emoji, style=style, custom_id=_custom_id(action, subject_id)
    )


class RerollButton(
    _ClientButton, discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"floor33:reroll:{_ID}"
):
    """The same settings once more with another seed."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(
            _button("reroll", generation_id, "Re-roll", discord.ButtonStyle.primary, "🎲")
        )
        self.generation_id = generation_id

    async def act(self, interaction: discord.Interaction, bot: BotClient) -> None:
        """Start the new job in a message of its own."""
        answer_id = await acknowledge(interaction)
        await bot.clips.reroll(self.generation_id, interaction, answer_id)


class DeleteButton(
    _ClientButton, discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"floor33:delete:{_ID}"
):
    """Removes the message and the clip."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(_button("delete", generation_id, "Delete", emoji="🗑️"))
        self.generation_id = generation_id

    async def act(self, interaction: discord.Interaction, bot: BotClient) -> None:
        """Delete, if the user may."""
        await acknowledge(interaction, thinking=False)
        await bot.clips.delete(self.generation_id, interaction)


class CancelButton(
    _ClientButton, discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"floor33:cancel:{_ID}"
):
    """Ends a job that waits or runs."""

    def __init__(self, job_id: str) -> None:
        super().__init__(_button("cancel", job_id, "Cancel"))
        self.job_id = job_id

    async def act(self, interaction: discord.Interaction, bot: BotClient) -> None:
        """Cancel, if the user may."""
        await acknowledge(interaction, thinking=False)
        await bot.jobs.cancel(self.job_id, interaction)


class ResendButton(
    _ClientButton, discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"floor33:fetch:{_ID}"
):
    """Sends a clip of the user's own again, to them alone."""

    def __init__(self, generation_id: str, label: str = "Send") -> None:
        super().__init__(_button("fetch", generation_id, label))
        self.generation_id = generation_id

    async def act(self, interaction: discord.Interaction, bot: BotClient) -> None:
        """Send the clip, if it is the user's."""
        await acknowledge(interaction, ephemeral=True)
        await bot.clips.resend(self.generation_id, interaction)


BUTTONS = (RerollButton, DeleteButton, CancelButton, ResendButton)
_KNOWN = re.compile(f"floor33:(?:reroll|delete|cancel|fetch):{_ID}")


def is_known_button(custom_id: object) -> bool:
    """Return whether one of `BUTTONS` has such an id."""
    return isinstance(custom_id, str) and _KNOWN.fullmatch(custom_id) is not None


def clip_mark(generation_id: str) -> str:
    """Return the button id that every message with this clip carries."""
    return _custom_id("reroll", generation_id)


def clip_view(generation_id: str) -> discord.ui.View:
    """Return the buttons of a finished clip."""
    view = discord.ui.View(timeout=None)
    view.add_item(RerollButton(generation_id))
    view.add_item(DeleteButton(generation_id))
    return view


def resend_view(labels: Mapping[str, str]) -> discord.ui.View:
    """Return a button for each clip, by its id; up to 25."""
    view = discord.ui.View(timeout=None)
    for generation_id, label in labels.items():
        view.add_item(ResendButton(generation_id, label))
    return view


def undelivered_view(generation_id: str) -> discord.ui.View:
    """Return the buttons of a clip that could not be shown. None of them is `clip_mark`."""
    view = resend_view({generation_id: "Send to me"})
    view.add_item(DeleteButton(generation_id))
    return view


def cancel_view(job_id: str) -> discord.ui.View:
    """Return the button of an unfinished job."""
    view = discord.ui.View(timeout=None)
    view.add_item(CancelButton(job_id))
    return view
