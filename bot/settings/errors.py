"""The one error of settings."""


class SettingsError(Exception):
    """A setting cannot be used. One line: where it stands, its key, its value, what is allowed."""

    def __init__(self, key: str, message: str) -> None:
        """`key` is the dotted key (or the file or variable at fault), `message` the whole line."""
        super().__init__(message)
        self.key = key
        self.message = message
