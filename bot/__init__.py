"""Floor33's Discord bot: commands, delivery, ratings, settings and the store."""
