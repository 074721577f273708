"""Compare what Discord sends with the options that a command has now.

Discord's list of commands may be older or newer than the bot: discord.py passes on values of
another type, and choices that are no more, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from discord import app_commands


def fits_signature(tree: app_commands.CommandTree[Any], data: Mapping[str, Any]) -> bool:
    """Return whether each option that is known has the type and one of the choices it has today.

    Args:
        tree: the bot's commands.
        data: of an application command's interaction, as Discord sent it.
    """
    command: Any = tree.get_command(str(data.get("name")))
    options: Sequence[Mapping[str, Any]] = data.get("options") or ()
    while isinstance(command, app_commands.Group) and options:
        command, options = (
            command.get_command(str(options[0].get("name"))),
            options[0].get("options") or (),
        )
    if not isinstance(command, app_commands.Command):
        return True  # discord.py itself says that there is no such command
    return all(_fits(command, option) for option in options)


def _fits(command: app_commands.Command[Any, Any, Any], option: Mapping[str, Any]) -> bool:
    parameter = command.get_parameter(str(option.get("name")))
    if parameter is None:
        return True  # left out of account, as discord.py does
    choices = [choice.value for choice in parameter.choices]
    right_type: bool = option.get("type") == parameter.type.value
    return right_type and (not choices or option.get("value") in choices)
