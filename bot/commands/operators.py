"""The people who operate the bot."""

from __future__ import annotations

import discord

from bot.settings import Settings


def operators(client: discord.Client, settings: Settings) -> frozenset[int]:
    """User ids of the operators: those of the settings, else the application's owner or team."""
    if settings.discord.operators is not None:
        return frozenset(settings.discord.operators)
    application = client.application
    if application is None:
        return frozenset()
    if application.team is not None:
        accepted = discord.TeamMembershipState.accepted
        members = application.team.members
        return frozenset(one.id for one in members if one.membership_state is accepted)
    return frozenset({application.owner.id})
