"""Starting the bot, and keeping it connected."""
