"""The sections of `bot.toml`. What belongs to the engine and to prompt expansion is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Strict, StringConstraints

from bot.settings.fields import MAX_ID, DiscordId, Folder, Secret, Table, check_path
from bot.settings.load import load_layers, validated
from bot.settings.service import (
    DatabaseSettings,
    LogSettings,
    OperationsSettings,
    RetentionSettings,
)
from common.settings import Allowed, StrictBool, StrictFloat, StrictInt
from engine.checkpoints.folder.lora import MAX_LORA_WEIGHT
from engine.settings import MAX_HANG_S, ClipSettings, IntakeLimits, ModelOptions, WorkerSettings
from prompt_expansion.settings import BaseUrl, ServerModel, ServerSettings

ModelName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    Allowed("a model's name: up to 64 of a-z, 0-9, '.', '_', '-'"),
]
GuildId = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,18}$")]
IdList = Annotated[tuple[DiscordId, ...] | None, Field(max_length=1000)]


class DiscordSettings(Table):
    """`[discord]`."""

    servers: Annotated[IdList, Allowed("a list of servers' ids, whole numbers", none="any")] = None
    operators: Annotated[
        IdList,
        Allowed("a list of users' ids, whole numbers", none="the application's owner or team"),
    ] = None
    direct_messages: Literal["members", "nobody", "anyone"] = "members"
    dev_guild_id: Annotated[
        int | None,
        Strict(),
        Field(ge=1, le=MAX_ID),
        Allowed(f"a server's id, a whole number from 1 to {MAX_ID}", none="none"),
    ] = None
    token: Secret = Field(default=None, repr=False, exclude=True)


class EngineSection(Table, WorkerSettings):
    """`[engine]`: the engine's workers, and how the bot treats them."""

    # A Discord bot's clips take seconds; below this every long step would look like a hang.
    hang_after_s: StrictInt = Field(default=300, ge=10, le=MAX_HANG_S)
    grace_s: StrictInt = Field(default=30, ge=0, le=3600)
    warm_up: StrictBool = True


class LoraSettings(Table):
    """`[models.loras.NAME]`."""

    base: ModelName
    path: Annotated[
        Path, BeforeValidator(check_path), Allowed("the path of a .safetensors file or a folder")
    ]
    weight: StrictFloat = Field(default=1.0, ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)


class ModelSettings(Table):
    """`[models]`."""

    text_to_video: ModelName = "demo-t2v"
    image_to_video: ModelName = "demo-i2v"
    download: StrictBool = True
    extra: Annotated[
        Mapping[ModelName, Folder], Allowed("names of models, each with the path of its folder")
    ] = Field(default_factory=dict)
    options: Annotated[
        Mapping[ModelName, ModelOptions],
        Allowed("names of models, each with a table of options"),
    ] = Field(default_factory=dict)
    loras: Annotated[
        Mapping[ModelName, LoraSettings],
        Allowed("names of models, each with a table of base, path and weight"),
    ] = Field(default_factory=dict)


class LimitSettings(Table, IntakeLimits):
    """`[limits]`: the engine's, and those of users and servers."""

    max_prompt_chars: StrictInt = Field(default=500, ge=1, le=4000)
    max_image_mb: StrictInt = Field(default=10, ge=1, le=500)
    max_active_jobs_per_user: StrictInt = Field(default=3, ge=1, le=1000)
    max_active_jobs_per_guild: StrictInt = Field(default=100, ge=1, le=100_000)
    max_jobs_per_user_per_hour: StrictInt = Field(default=60, ge=1, le=100_000)


class QueueSettings(Table):
    """`[queue]`."""

    guild_weights: Annotated[
        Mapping[GuildId, Annotated[float, Field(ge=0.1, le=10)]],
        Allowed("servers' ids, each with a number from 0.1 to 10"),
    ] = Field(default_factory=dict)

    def weight_of(self, guild_id: int | None) -> float:
        """Return a server's weight; 1 for direct messages and servers that are not named."""
        return self.guild_weights.get(str(guild_id), 1.0)


class ExpansionSection(Table, ServerSettings):
    """`[expansion]`: who expands prompts, and for whom."""

    enabled: StrictBool = False
    base_url: BaseUrl = "https://api.openai.com/v1"
    model: ServerModel = "gpt-4o-mini"
    timeout_s: StrictFloat = Field(default=20.0, ge=1, le=120)


class PreviewSettings(Table):
    """`[preview]`."""

    # Whoever reaches the preview can use the bot, so it is served on this machine only.
    host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    port: StrictInt = Field(default=0, ge=0, le=65535)


class Settings(Table):
    """All settings of the bot. Frozen; made by `Settings.load`."""

    data_dir: Folder = Path("data")
    discord: DiscordSettings = DiscordSettings()
    engine: EngineSection = EngineSection()
    models: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    clips: ClipSettings = ClipSettings()
    queue: QueueSettings = QueueSettings()
    expansion: ExpansionSection = ExpansionSection()
    preview: PreviewSettings = PreviewSettings()
    database: DatabaseSettings = DatabaseSettings()
    retention: RetentionSettings = RetentionSettings()
    operations: OperationsSettings = OperationsSettings()
    log: LogSettings = LogSettings()

    @property
    def database_path(self) -> Path:
        """Return the SQLite file; not used with a PostgreSQL server."""
        return self.data_dir / "floor33.db"

    @property
    def database_location(self) -> Path | str:
        """Return the location for `Store.open`; an address may hold a password."""
        url = self.database.url
        return self.database_path if url is None else url.get_secret_value()

    @property
    def models_dir(self) -> Path:
        """Return the folder of installed models."""
        return self.data_dir / "models"

    @property
    def output_dir(self) -> Path:
        """Return the folder for finished clips."""
        return self.data_dir / "outputs"

    @classmethod
    def load(
        cls, path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Self:
        """Load settings; later wins: defaults, the file, the environment, `overrides` (nested).

        Args:
            path: The TOML file. None: `$FLOOR33_CONFIG`, else `./bot.toml` if there is one, else
                no file. A file that is named must exist.
            overrides: Settings by name, e.g. `{"preview": {"port": 8080}}`.

        Returns:
            Settings whose paths are absolute: those in the file count from the file's folder, the
            others from the current one.

        Raises:
            SettingsError: An unreadable or broken file, an unknown key, or a value out of range.
        """
        return validated(cls, load_layers(path, overrides))
