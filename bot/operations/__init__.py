"""Running the bot as a service: logs, metrics, health, retention, an orderly end."""
