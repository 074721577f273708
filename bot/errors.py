"""The exceptions of the bot that more than one of its parts knows."""

from __future__ import annotations


class BotError(Exception):
    """The base of the bot's own exceptions."""


class UserError(BotError):
    """A mistake of the person who asked; the text is the sentence they get."""


class NotAcknowledgedError(BotError):
    """The interaction cannot be answered any more, or somebody else answers it."""


class PictureMissingError(BotError):
    """The picture of a job is not there any more; the text is for the job's owner."""
