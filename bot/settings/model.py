"""Every setting with its default and its allowed values. `bot.toml` documents them for users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from bot.settings.addresses import check_base_url
from bot.settings.allowed import Allowed
from bot.settings.fields import (
    Folder,
    Secret,
    Section,
    StrictBool,
    StrictInt,
    Unset,
    blank_is_none,
    check_path,
)
from bot.settings.load import load_layers, validated
from bot.settings.service import (
    DatabaseSettings,
    LogSettings,
    OperationsSettings,
    RetentionSettings,
)


def _check_base_url(value: str) -> str:
    check_base_url(value)
    return value.rstrip("/")


MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
ModelName = Annotated[
    str,
    StringConstraints(pattern=MODEL_NAME),
    Allowed("a model's name: up to 64 of a-z, 0-9, '.', '_', '-'"),
]
GuildId = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,18}$")]
DiscordId = Annotated[StrictInt, Field(ge=1, le=2**63 - 1)]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|mps|cuda(:\d{1,3})?)$")]


class DiscordSettings(Section):
    """`[discord]`."""

    servers: Annotated[
        Annotated[tuple[DiscordId, ...], Field(min_length=1, max_length=1000)] | None,
        Unset,
        Allowed("a list of servers' ids, whole numbers, or [] for any"),
    ] = None
    operators: Annotated[
        Annotated[tuple[DiscordId, ...], Field(min_length=1, max_length=1000)] | None,
        Unset,
        Allowed("a list of users' ids, whole numbers, or [] for the application's owner or team"),
    ] = None
    direct_messages: Literal["members", "nobody", "anyone"] = "members"
    dev_guild_id: Annotated[
        Annotated[StrictInt, Field(ge=1, le=2**63 - 1)] | None,
        Unset,
        Allowed(f"a server's id, a whole number from 1 to {2**63 - 1}, or 0 for none"),
    ] = None
    token: Secret = Field(default=None, repr=False, exclude=True)


class EngineSettings(Section):
    """`[engine]`."""

    backend: Literal["local", "ray"] = "local"
    ray_address: Annotated[
        Annotated[str, StringConstraints(pattern=r"^(auto|(ray://)?[^\s/@]+:\d{1,5})$")] | None,
        BeforeValidator(blank_is_none),
        Allowed('"auto", "HOST:PORT", "ray://HOST:PORT", or "" for automatic'),
    ] = None
    ray_workers: StrictInt = Field(default=0, ge=0, le=1024)
    devices: Annotated[
        Annotated[tuple[Device, ...], Field(min_length=1, max_length=64)] | None,
        Unset,
        Allowed('a list of "cpu", "cuda", "cuda:N" or "mps", or [] for automatic'),
    ] = None
    threads: Annotated[
        Annotated[StrictInt, Field(ge=1, le=256)] | None,
        Unset,
        Allowed("a whole number from 1 to 256, or 0 for automatic"),
    ] = None
    grace_s: StrictInt = Field(default=30, ge=0, le=3600)
    warm_up: StrictBool = True
    max_batch: Annotated[
        Annotated[StrictInt, Field(ge=1, le=64)] | None,
        Unset,
        Allowed("a whole number from 1 to 64, or 0 for automatic"),
    ] = None
    model_memory_gb: Annotated[
        Annotated[float, Field(ge=0.001, le=100_000, allow_inf_nan=False)] | None,
        Unset,
        Allowed("a number from 0.001 to 100000, or 0 for automatic"),
    ] = None
    hang_after_s: StrictInt = Field(default=300, ge=10, le=86_400)


class ModelOptionSettings(Section):
    """`[models.options.NAME]`."""

    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    offload: Literal["none", "model", "group"] = "none"
    vae_tiling: StrictBool = False
    vae_slicing: StrictBool = False
    attention: Literal["sdpa", "sliced"] = "sdpa"
    compile: Annotated[
        StrictBool, Allowed('true or false; true only together with offload = "none"')
    ] = False

    @field_validator("compile")
    @classmethod
    def _not_with_offload(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("offload", "none") != "none":
            raise ValueError("compiled weights cannot be moved")
        return value


class LoraSettings(Section):
    """`[models.loras.NAME]`."""

    base: ModelName
    path: Annotated[
        Path, BeforeValidator(check_path), Allowed("the path of a .safetensors file or a folder")
    ]
    weight: Annotated[float, Strict()] = Field(default=1.0, ge=-4, le=4, allow_inf_nan=False)


class ModelSettings(Section):
    """`[models]`."""

    text_to_video: ModelName = "demo-t2v"
    image_to_video: ModelName = "demo-i2v"
    download: StrictBool = True
    extra: Annotated[
        Mapping[ModelName, Folder], Allowed("names of models, each with the path of its folder")
    ] = Field(default_factory=dict)
    options: Annotated[
        Mapping[ModelName, ModelOptionSettings],
        Allowed("names of models, each with a table of options"),
    ] = Field(default_factory=dict)
    loras: Annotated[
        Mapping[ModelName, LoraSettings],
        Allowed("names of models, each with a table of base, path and weight"),
    ] = Field(default_factory=dict)


class LimitSettings(Section):
    """`[limits]`."""

    max_prompt_chars: StrictInt = Field(default=500, ge=1, le=4000)
    max_image_mb: StrictInt = Field(default=10, ge=1, le=500)
    max_image_pixels: StrictInt = Field(default=25_000_000, ge=4096, le=200_000_000)
    max_active_jobs_per_user: StrictInt = Field(default=3, ge=1, le=1000)
    max_active_jobs_per_guild: StrictInt = Field(default=100, ge=1, le=100_000)
    max_jobs_per_user_per_hour: StrictInt = Field(default=60, ge=1, le=100_000)
    min_free_mb: StrictInt = Field(default=256, ge=0, le=1_000_000)


class ClipSettings(Section):
    """`[clips]`."""

    prompt_in_metadata: StrictBool = True


class QueueSettings(Section):
    """`[queue]`."""

    guild_weights: Annotated[
        Mapping[GuildId, Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)]],
        Allowed("servers' ids, each with a number from 0.1 to 10"),
    ] = Field(default_factory=dict)

    def weight_of(self, guild_id: int | None) -> float:
        """A server's weight; 1 for direct messages and servers that are not named."""
        return self.guild_weights.get(str(guild_id), 1.0)


class ExpansionSettings(Section):
    """`[expansion]`."""

    enabled: StrictBool = False
    backend: Literal["offline", "openai", "none"] = "offline"
    base_url: Annotated[
        str,
        AfterValidator(_check_base_url),
        Allowed("an http:// or https:// address without a user name or password"),
    ] = "https://api.openai.com/v1"
    model: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
        Allowed("a model's name of 1 to 200 characters"),
    ] = "gpt-4o-mini"
    timeout_s: Annotated[float, Strict()] = Field(default=20.0, ge=1, le=120, allow_inf_nan=False)
    max_tokens: StrictInt = Field(default=2048, ge=16, le=32_768)
    api_key: Secret = Field(default=None, repr=False, exclude=True)


class PreviewSettings(Section):
    """`[preview]`."""

    # Whoever reaches the preview can use the bot, so it is served on this machine only.
    host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    port: StrictInt = Field(default=0, ge=0, le=65535)


class Settings(Section):
    """Everything that can be set. Frozen; made by `Settings.load`."""

    data_dir: Folder = Path("data")
    discord: DiscordSettings = DiscordSettings()
    engine: EngineSettings = EngineSettings()
    models: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    clips: ClipSettings = ClipSettings()
    queue: QueueSettings = QueueSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    preview: PreviewSettings = PreviewSettings()
    database: DatabaseSettings = DatabaseSettings()
    retention: RetentionSettings = RetentionSettings()
    operations: OperationsSettings = OperationsSettings()
    log: LogSettings = LogSettings()

    @property
    def database_path(self) -> Path:
        """The SQLite file; not used with a PostgreSQL server."""
        return self.data_dir / "floor33.db"

    @property
    def database_location(self) -> Path | str:
        """The location that `Store.open` is given; an address may hold a password."""
        url = self.database.url
        return self.database_path if url is None else url.get_secret_value()

    @property
    def models_dir(self) -> Path:
        """The folder of installed models."""
        return self.data_dir / "models"

    @property
    def output_dir(self) -> Path:
        """The folder for finished clips."""
        return self.data_dir / "outputs"

    @classmethod
    def load(
        cls, path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Self:
        """Settings from, later wins: defaults, the file, the environment, `overrides` (nested).

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
