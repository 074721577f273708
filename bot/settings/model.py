"""Every setting with its default and its allowed values. `bot.toml` documents them for users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from bot.settings.allowed import Allowed
from bot.settings.load import load_layers, validated


def _none_if_unset(value: Any) -> Any:
    """TOML has no null: 0 or [] stand for "not set". (False is a mistake, not a 0.)"""
    return None if value in (0, [], ()) and value is not False else value


def _check_base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https address")
    if parts.username or parts.password:
        raise ValueError("a password does not belong into an address")
    return value.rstrip("/")


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _check_folder(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("not a path")
    return value


def _blank_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


StrictInt = Annotated[int, Strict()]
StrictBool = Annotated[bool, Strict()]
Folder = Annotated[Path, BeforeValidator(_check_folder), Allowed("the path of a folder")]
Unset = BeforeValidator(_none_if_unset)
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
ModelName = Annotated[
    str,
    StringConstraints(pattern=MODEL_NAME),
    Allowed("a model's name: up to 64 of a-z, 0-9, '.', '_', '-'"),
]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|mps|cuda(:\d{1,3})?)$")]
# Secrets come from the environment; they are neither shown nor written anywhere.
Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_none), Allowed("a text")]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )


class DiscordSettings(_Section):
    """`[discord]`."""

    dev_guild_id: Annotated[
        Annotated[StrictInt, Field(ge=1, le=2**63 - 1)] | None,
        Unset,
        Allowed(f"a server's id, a whole number from 1 to {2**63 - 1}, or 0 for none"),
    ] = None
    token: Secret = Field(default=None, repr=False, exclude=True)


class EngineSettings(_Section):
    """`[engine]`."""

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


class ModelOptionSettings(_Section):
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


class LoraSettings(_Section):
    """`[models.loras.NAME]`."""

    base: ModelName
    path: Annotated[
        Path, BeforeValidator(_check_folder), Allowed("the path of a .safetensors file or a folder")
    ]
    weight: Annotated[float, Strict()] = Field(default=1.0, ge=-4, le=4, allow_inf_nan=False)


class ModelSettings(_Section):
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


class LimitSettings(_Section):
    """`[limits]`."""

    max_prompt_chars: StrictInt = Field(default=500, ge=1, le=4000)
    max_image_mb: StrictInt = Field(default=10, ge=1, le=500)
    max_image_pixels: StrictInt = Field(default=25_000_000, ge=4096, le=200_000_000)
    max_active_jobs_per_user: StrictInt = Field(default=3, ge=1, le=1000)


class ExpansionSettings(_Section):
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
    api_key: Secret = Field(default=None, repr=False, exclude=True)


class PreviewSettings(_Section):
    """`[preview]`."""

    # Whoever reaches the preview can use the bot, so it is served on this machine only.
    host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    port: StrictInt = Field(default=0, ge=0, le=65535)


class LogSettings(_Section):
    """`[log]`."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"


class Settings(_Section):
    """Everything that can be set. Frozen; made by `Settings.load`."""

    data_dir: Folder = Path("data")
    discord: DiscordSettings = DiscordSettings()
    engine: EngineSettings = EngineSettings()
    models: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    preview: PreviewSettings = PreviewSettings()
    log: LogSettings = LogSettings()

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "floor33.db"

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
