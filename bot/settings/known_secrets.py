"""The secrets that an installation has: those of its settings and of its environment."""

from __future__ import annotations

from bot.settings.model import Settings
from bot.settings.secrets import secrets_of_address, secrets_of_environment


def secrets_of(settings: Settings) -> list[str]:
    """Return the secrets of the settings and of the environment: never logged, never shown."""
    given = (settings.discord.token, settings.expansion.api_key)
    found = [secret.get_secret_value().strip() for secret in given if secret is not None]
    if settings.database.url is not None:
        found += secrets_of_address(settings.database.url.get_secret_value())
    found += secrets_of_address(settings.expansion.base_url)
    return found + secrets_of_environment()
