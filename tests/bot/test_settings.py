"""Settings: where they come from, what is refused in which words, what bot.toml promises."""

import re
import tomllib
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import ValidationError

from bot.settings import Settings, SettingsError
from bot.settings.allowed import allowed_words, table_of
from bot.settings.engine import engine_settings
from bot.settings.explain import settings_of
from bot.settings.load import CONFIG_VARIABLE, VARIABLES
from engine.settings import ModelOptions

REPOSITORY = Path(__file__).resolve().parents[2]
BOT_TOML = (REPOSITORY / "bot.toml").read_text(encoding="utf-8")
COMMENTED_SETTING = re.compile(r"^# (\w+ = .+|\[[\w.-]+\])$", re.MULTILINE)
DOCUMENTED = {key: field for key, field in settings_of(Settings) if not field.exclude}
# One table for each model: not a plain value, so bot.toml shows it as a table with its own lines.
TABLES = {"models.options", "models.loras"}
TOKEN = "MTA4.G-secret.token"


class Write(Protocol):
    def __call__(self, text: str, name: str = ...) -> Path: ...


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (CONFIG_VARIABLE, *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str, name: str = "bot.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def leaf(settings: object, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def dig(values: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def nested(key: str, value: object) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def refusal(overrides: dict[str, Any] | None = None, path: Path | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.load(path, overrides)
    assert "\n" not in str(caught.value)
    return caught.value


def test_without_any_file_the_defaults_count(tmp_path: Path) -> None:
    settings = Settings.load(None)
    assert settings == Settings(data_dir=tmp_path / "data")
    assert settings.database_path == tmp_path / "data" / "floor33.db"
    assert settings.output_dir == tmp_path / "data" / "outputs"
    assert (settings.models.text_to_video, settings.models.image_to_video) == (
        "demo-t2v",
        "demo-i2v",
    )


def test_each_place_beats_the_one_before(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.load(None).data_dir == tmp_path / "data"
    write('data_dir = "from-file"\n[limits]\nmax_image_mb = 3\nmax_prompt_chars = 30')
    assert Settings.load(None).data_dir == tmp_path / "from-file"
    monkeypatch.setenv("FLOOR33_DATA_DIR", "from-environment")
    assert Settings.load(None).data_dir == tmp_path / "from-environment"
    settings = Settings.load(
        None, {"data_dir": str(tmp_path / "given"), "limits": {"max_image_mb": 4}}
    )
    assert settings.data_dir == tmp_path / "given"
    # One value of a section leaves its others alone.
    assert (settings.limits.max_image_mb, settings.limits.max_prompt_chars) == (4, 30)
    assert settings.limits.max_active_jobs_per_user == 3


def test_the_file_is_the_named_one_else_the_variables_else_the_folders(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("preview.port = 1")
    second = write("preview.port = 2", "second.toml")
    third = write("preview.port = 3", "third.toml")
    assert Settings.load(None).preview.port == 1
    monkeypatch.setenv("FLOOR33_CONFIG", str(second))
    assert Settings.load(None).preview.port == 2
    assert Settings.load(third).preview.port == 3
    assert Settings.load(str(third)).preview.port == 3


def test_paths_in_a_file_count_from_its_folder(write: Write, tmp_path: Path) -> None:
    file = write('data_dir = "here"\n[models]\nextra = { mine = "m/mine" }', "etc/floor33.toml")
    settings = Settings.load(file)
    assert settings.data_dir == tmp_path / "etc" / "here"
    assert settings.models.extra == {"mine": tmp_path / "etc" / "m" / "mine"}


def test_a_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings.load(None, {"data_dir": "~/clips"}).data_dir == tmp_path / "home" / "clips"


def test_a_file_that_is_named_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "nowhere.toml" in str(refusal(path=tmp_path / "nowhere.toml"))
    assert "directory" in str(refusal(path=tmp_path)).lower()
    monkeypatch.setenv("FLOOR33_CONFIG", "missing.toml")
    assert "missing.toml" in str(refusal())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[limits]\nmax_prompt_chars = = 3\n", "line 2, column 20"),
        ('data_dir = "never closed', "line 1, column 25"),
        ("\n\n[limits", "line 3, column 8"),
        ("a = 1\na = 2\n", "line 2, column 6"),
    ],
)
def test_broken_toml_is_placed(write: Write, text: str, place: str) -> None:
    path = write(text)
    message = str(refusal(path=path))
    assert message.startswith(str(path))
    assert place in message


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_bytes("\n# caf\u00e9".encode("latin-1"))
    message = str(refusal(path=path))
    assert "UTF-8" in message
    assert "line 2, column 6" in message
    # Editors on Windows put a mark before the text and end lines in their own way.
    path.write_bytes("\ufeff[preview]\r\nport = 81\r\n".encode())
    assert Settings.load(path).preview.port == 81


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("limits.max_promt_chars", "limits.max_prompt_chars"),
        ("datadir", "data_dir"),
        ("limit.max_image_mb", "limits"),
        ("preview.max_image_mb", "limits.max_image_mb"),
        ("prot", "operations.port"),
        ("engine.device", "engine.devices"),
        ("expansion.timeout", "expansion.timeout_s"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest(write: Write, key: str, near: str) -> None:
    path = write(f"{key} = 1")
    error = refusal(path=path)
    assert error.key in (key, key.split(".", maxsplit=1)[0])
    assert f'"{error.key}"' in str(error)
    assert f'did you mean "{near}"' in str(error)
    assert str(path) in str(error)


WRONG: list[tuple[str, object, str]] = [
    ("data_dir", "", "folder"),
    ("data_dir", 3, "folder"),
    ("discord.servers", ["home"], "servers' ids"),
    ("discord.servers", 5, "list"),
    ("discord.servers", [0], "servers' ids"),
    ("discord.operators", ["123"], "users' ids"),
    ("discord.operators", [2**63], "users' ids"),
    ("discord.direct_messages", "friends", '"members", "nobody", "anyone"'),
    ("discord.direct_messages", False, '"members", "nobody", "anyone"'),
    ("discord.dev_guild_id", -1, "from 1 to 9223372036854775807"),
    ("discord.dev_guild_id", False, "whole number"),
    ("engine.backend", "slurm", '"local", "ray"'),
    ("engine.ray_address", "head", "HOST:PORT"),
    ("engine.ray_address", 3, "HOST:PORT"),
    ("engine.ray_workers", -1, "from 0 to 1024"),
    ("engine.devices", ["gpu"], '"cuda:N"'),
    ("engine.devices", "cpu", "list"),
    ("engine.threads", 257, "from 1 to 256"),
    ("engine.threads", 1.5, "whole number"),
    ("engine.grace_s", -1, "from 0 to 3600"),
    ("engine.warm_up", 1, "true or false"),
    ("engine.max_batch", 65, "from 1 to 64"),
    ("engine.model_memory_gb", -1.0, "0.001 to 100000"),
    ("engine.hang_after_s", 1, "from 10 to 86400"),
    ("models.text_to_video", "../x", "up to 64"),
    ("models.image_to_video", "", "up to 64"),
    ("models.download", 1, "true or false"),
    ("models.extra", {"A B": "x"}, "names of models"),
    ("models.extra", {"ok": 3}, "names of models"),
    ("models.extra", 3, "names of models"),
    ("models.options", 3, "names of models, each with a table"),
    ("models.loras", 3, "names of models, each with a table"),
    ("limits.max_prompt_chars", 0, "from 1 to 4000"),
    ("limits.max_prompt_chars", "500", "from 1 to 4000"),
    ("limits.max_prompt_chars", True, "from 1 to 4000"),
    ("limits.max_image_mb", 501, "from 1 to 500"),
    ("limits.max_image_pixels", 4095, "from 4096 to 200000000"),
    ("limits.max_active_jobs_per_user", 0, "from 1 to 1000"),
    ("limits.max_active_jobs_per_guild", 0, "from 1 to 100000"),
    ("limits.max_jobs_per_user_per_hour", 0, "from 1 to 100000"),
    ("limits.min_free_mb", -1, "from 0 to 1000000"),
    ("clips.prompt_in_metadata", "no", "true or false"),
    ("queue.guild_weights", {"home": 2.0}, "servers' ids"),
    ("queue.guild_weights", {"1": 0.0}, "from 0.1 to 10"),
    ("expansion.enabled", "yes", "true or false"),
    ("expansion.enabled", 1, "true or false"),
    ("expansion.backend", "magic", '"offline", "openai", "none"'),
    ("expansion.base_url", "ftp://host", "http://"),
    ("expansion.base_url", "http://", "http://"),
    ("expansion.model", " ", "1 to 200 characters"),
    ("expansion.timeout_s", 0.5, "from 1 to 120"),
    ("expansion.timeout_s", float("nan"), "from 1 to 120"),
    ("expansion.max_tokens", 15, "from 16 to 32768"),
    ("expansion.max_tokens", 40_000, "from 16 to 32768"),
    ("preview.host", "0.0.0.0", '"127.0.0.1", "localhost"'),
    ("preview.port", 65536, "from 0 to 65535"),
    ("database.url", "mysql://host/x", "postgresql://"),
    ("database.url", "postgresql://host", "the name of a database"),
    ("database.url", 3, "postgresql://"),
    ("retention.max_age_days", -1, "from 0 to 36500"),
    ("retention.max_age_days", 0.5, "whole number"),
    ("retention.max_gb", -0.1, "from 0 to 1000000"),
    ("operations.host", "http://x", "address or name"),
    ("operations.port", 65536, "from 0 to 65535"),
    ("operations.allowed_hosts", ["http://x"], "host names"),
    ("log.level", "loud", '"DEBUG", "INFO", "WARNING", "ERROR"'),
    ("log.format", "xml", '"text", "json"'),
    ("log.file", 3, "path of a file"),
    ("log.max_mb", 0, "from 1 to 100000"),
    ("log.keep", -1, "from 0 to 1000"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: object, allowed: str) -> None:
    error = refusal(nested(key, value))
    assert error.key == key
    shown = value if isinstance(value, dict | list) else repr(value)
    if not isinstance(value, dict):
        assert f"{key} = {shown} is not allowed" in str(error)
    assert allowed in str(error).partition("allowed; allowed: ")[2]


def test_every_setting_has_a_wrong_value_above() -> None:
    assert {key for key, _, _ in WRONG} == set(DOCUMENTED)


def test_the_error_names_the_place_of_the_value(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("limits.max_image_mb = 0")
    assert str(refusal(path=path)).startswith(f"{path}: limits.max_image_mb = 0 ")
    monkeypatch.setenv("FLOOR33_DATA_DIR", "bad\tdir")
    assert str(refusal({"data_dir": 5}, path)).startswith("overrides: data_dir = 5 ")


@pytest.mark.parametrize("value", [3, "text", [1], True])
def test_a_section_must_be_a_section(value: object) -> None:
    error = refusal({"limits": value})
    assert error.key == "limits"
    assert "section" in str(error)


def test_a_long_value_is_cut_short() -> None:
    assert len(str(refusal({"limits": {"max_image_mb": "9" * 10_000}}))) < 250


def test_settings_are_frozen() -> None:
    settings = Settings.load(None)
    with pytest.raises(ValidationError):
        settings.limits.max_image_mb = 1
    with pytest.raises(ValidationError):
        settings.data_dir = Path("elsewhere")


@pytest.mark.parametrize(
    ("variable", "key"),
    [("DISCORD_TOKEN", "discord.token"), ("OPENAI_API_KEY", "expansion.api_key")],
)
def test_secrets_come_from_the_environment_and_stay_secret(
    monkeypatch: pytest.MonkeyPatch, write: Write, variable: str, key: str
) -> None:
    assert leaf(Settings.load(None), key) is None
    monkeypatch.setenv(variable, "  ")
    assert leaf(Settings.load(None), key) is None
    monkeypatch.setenv(variable, f" {TOKEN}\n")
    settings = Settings.load(None)
    assert leaf(settings, key).get_secret_value() == TOKEN
    everything = (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        repr(settings.model_dump()),
        repr(leaf(settings, key)),
        str(refusal({"limits": {"max_image_mb": 0}})),
    )
    assert not any(TOKEN in text for text in everything)
    # In a file it would end up in backups and repositories.
    error = refusal(path=write(f'{key} = "{TOKEN}"'))
    assert variable in str(error)
    assert TOKEN not in str(error)
    section, _, name = key.partition(".")
    error = refusal({section: {name: [TOKEN]}})
    assert error.key == key
    assert TOKEN not in str(error)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    error = refusal({"expansion": {"base_url": "https://me:hunter2@host/v1"}})
    assert error.key == "expansion.base_url"
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/floor33",
        "postgresql://me@host/floor33?password=hunter2",
        "postgres://:hunter2@host/floor33",
    ],
)
def test_a_database_password_comes_from_the_environment_only(
    write: Write, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    error = refusal(path=write(f'[database]\nurl = "{url}"'))
    assert error.key == "database.url"
    assert "FLOOR33_DATABASE_URL" in str(error)
    monkeypatch.setenv("FLOOR33_DATABASE_URL", url)
    settings = Settings.load(write('[database]\nurl = "postgresql://me@host/other"'))
    assert settings.database_location == url
    monkeypatch.setenv("FLOOR33_DATABASE_URL", url.replace("postgres", "mysql"))
    said = str(error) + repr(settings) + settings.model_dump_json() + str(refusal())
    assert "hunter2" not in said


def test_the_database_is_a_file_unless_an_address_is_given(write: Write, tmp_path: Path) -> None:
    assert Settings.load(None).database_location == tmp_path / "data" / "floor33.db"
    url = "postgresql:///floor33?host=/run/postgresql"
    assert Settings.load(write(f'[database]\nurl = "{url}"')).database_location == url


def test_the_log_file_counts_from_the_folder_of_its_settings(write: Write, tmp_path: Path) -> None:
    path = write('[log]\nfile = "logs/bot.log"', "conf/bot.toml")
    assert Settings.load(path).log.file == tmp_path / "conf" / "logs" / "bot.log"
    assert Settings.load(None).log.file is None


def uncommented() -> dict[str, Any]:
    return tomllib.loads(COMMENTED_SETTING.sub(r"\1", BOT_TOML))


def test_bot_toml_as_it_is_changes_nothing(write: Write) -> None:
    assert Settings.load(write(BOT_TOML)) == Settings.load(None)
    assert all(isinstance(value, dict) and not value for value in tomllib.loads(BOT_TOML).values())


def test_bot_toml_shows_every_setting_and_nothing_else() -> None:
    def keys(values: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, value in values.items():
            if isinstance(value, dict) and prefix + name not in DOCUMENTED:
                found |= keys(value, f"{prefix}{name}.")
            else:
                found.add(prefix + name)
        return found

    assert keys(uncommented()) == set(DOCUMENTED)


@pytest.mark.parametrize("key", sorted(DOCUMENTED.keys() - TABLES))
def test_bot_toml_shows_the_default_and_what_is_allowed(key: str) -> None:
    values = uncommented()
    assert leaf(Settings.model_validate(values), key) == leaf(Settings(), key)
    # None is written as 0 or []; anything else must be the very value.
    if (default := leaf(Settings(), key)) is not None:
        written = dig(values, key)
        assert (Path(written) if key == "data_dir" else written) == default
    section, _, name = key.rpartition(".")
    text = BOT_TOML.split(f"[{section}]\n")[1] if section else BOT_TOML
    above = text.partition(f"\n# {name} = ")[0].rpartition("\n")[2]
    assert above == f"# Allowed: {allowed_words(DOCUMENTED[key])}"


def test_bot_toml_shows_the_options_of_a_model_with_their_defaults() -> None:
    shown = uncommented()["models"]["options"]["t2v-1024"]
    assert shown == ModelOptions().model_dump()
    lines = BOT_TOML.splitlines()
    start = lines.index("# [models.options.t2v-1024]")
    for name, field in ModelOptions.model_fields.items():
        place = next(i for i in range(start, len(lines)) if lines[i].startswith(f"# {name} = "))
        assert lines[place - 1] == f"# Allowed: {allowed_words(field)}"
    assert lines[start - 1] == f"# Allowed: {allowed_words(DOCUMENTED['models.options'])}"


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("precision", "int8", 'one of "auto", "float32", "float16", "bfloat16"'),
        ("offload", "disk", 'one of "none", "model", "group"'),
        ("offload", True, 'one of "none", "model", "group"'),
        ("vae_tiling", "yes", "true or false"),
        ("vae_slicing", 1, "true or false"),
        ("attention", "flash", 'one of "sdpa", "sliced"'),
        ("compile", "max", "true or false"),
    ],
)
def test_a_wrong_option_of_a_model_is_named_with_what_is_allowed(
    write: Write, option: str, value: object, allowed: str
) -> None:
    error = refusal({"models": {"options": {"t2v-1024": {option: value}}}})
    assert error.key == f"models.options.t2v-1024.{option}"
    assert str(error).startswith(f"overrides: {error.key} = {value!r} is not allowed; allowed: ")
    assert allowed in str(error)


def test_compiling_an_offloaded_model_is_refused(write: Write) -> None:
    path = write('[models.options.big]\noffload = "model"\ncompile = true\n')
    error = refusal(path=path)
    assert error.key == "models.options.big.compile"
    assert str(error).startswith(f"{path}: ")
    assert 'true only together with offload = "none"' in str(error)


@pytest.mark.parametrize(
    ("options", "key", "near"),
    [
        ({"big": {"ofload": "model"}}, "models.options.big.ofload", "models.options.big.offload"),
        ({"big": {"tiling": True}}, "models.options.big.tiling", "models.options.big.vae_tiling"),
    ],
)
def test_an_unknown_option_of_a_model_is_named_with_its_nearest(
    options: dict[str, Any], key: str, near: str
) -> None:
    error = refusal({"models": {"options": options}})
    assert error.key == key
    assert f'did you mean "{near}"' in str(error)


@pytest.mark.parametrize("options", [{"A B": {}}, {"big": 3}, {"big": [1]}])
def test_options_are_tables_under_names_of_models(options: dict[str, Any]) -> None:
    error = refusal({"models": {"options": options}})
    assert error.key == f"models.options.{next(iter(options))}"
    assert "names of models, each with a table of options" in str(error)


def test_the_engine_gets_the_options_of_each_model(write: Write) -> None:
    path = write(
        "[models.options.big]\n"
        'precision = "float16"\noffload = "group"\nvae_tiling = true\n'
        'vae_slicing = true\nattention = "sliced"\n'
        "[models.options.fast]\ncompile = true\n"
    )
    wanted = engine_settings(Settings.load(path))
    assert dict(wanted.model_options) == {
        "big": ModelOptions(
            precision="float16",
            offload="group",
            vae_tiling=True,
            vae_slicing=True,
            attention="sliced",
        ),
        "fast": ModelOptions(compile=True),
    }
    assert wanted.options_of("another") == ModelOptions()


def test_the_options_are_the_engines_own() -> None:
    assert table_of(DOCUMENTED["models.options"]) is ModelOptions


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("discord.dev_guild_id", [1, 2**63 - 1]),
        ("engine.ray_address", ["auto", "head:6379", "ray://10.0.0.1:10001"]),
        ("engine.ray_workers", [0, 1024]),
        ("engine.threads", [1, 256]),
        ("engine.devices", [("cpu",), ("cuda:0", "cuda:1"), ("mps",)]),
        ("limits.max_prompt_chars", [1, 4000]),
        ("limits.max_image_pixels", [4096, 200_000_000]),
        ("preview.port", [0, 65535]),
        ("expansion.timeout_s", [1, 120]),
        ("expansion.max_tokens", [16, 32_768]),
        ("expansion.base_url", ["http://127.0.0.1:8080/v1", "https://host"]),
        ("preview.host", ["127.0.0.1", "localhost"]),
    ],
)
def test_the_ends_of_a_range_are_inside(key: str, values: list[object]) -> None:
    for value in values:
        assert leaf(Settings.load(None, nested(key, value)), key) == value


def test_levels_are_read_in_any_case() -> None:
    assert Settings.load(None, {"log": {"level": "debug"}}).log.level == "DEBUG"


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{a = " * 3000 + "1" + "}" * 3000,
        "a = " + "[" * 200_000,
        ".".join(["a"] * 20_000) + " = 1",
        "[" + ".".join(["models"] * 20_000) + "]",
        "data_dir = " + "[" * 40 + "]" * 40,
    ],
)
def test_a_file_that_is_nested_too_deeply_is_one_line(write: Write, text: str) -> None:
    error = refusal(path=write(text))
    assert "nested too deeply" in str(error)


@pytest.mark.parametrize(
    "text", ["a = " + "1" * 6000, "[limits]\nmax_prompt_chars = 0x" + "f" * 20_000]
)
def test_a_number_that_is_too_long_is_one_line(write: Write, text: str) -> None:
    assert len(str(refusal(path=write(text)))) < 400
