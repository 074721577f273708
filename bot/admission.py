"""Another name of `bot.jobs.admission`."""

from bot.jobs.admission import check_room

__all__ = ["check_room"]
