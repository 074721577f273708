"""Everything that Discord shows of the bot, and how it gets there."""
