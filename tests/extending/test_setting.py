"""A setting of the engine's, added in one place: what docs/extending.md shows."""

from __future__ import annotations

from pathlib import Path

import pytest

# [example]
from pydantic import Field

from bot.settings import EngineSection, Settings, SettingsError
from common.settings import Section, StrictInt
from engine.settings import EngineSettings, EngineSettingsError


class NicenessSettings(Section):
    niceness: StrictInt = Field(default=0, ge=0, le=19)
    """Priority of the workers, 0 (usual) to 19 (whenever nobody else wants the processor)."""


class MyEngineSettings(NicenessSettings, EngineSettings):
    """The engine takes it in Python."""


class MyEngineSection(NicenessSettings, EngineSection):
    """bot.toml takes it in [engine]."""


class MySettings(Settings):
    engine: MyEngineSection = MyEngineSection()


# [/example]


def test_bot_toml_and_environment_and_overrides_reach_it(tmp_path: Path) -> None:
    file = tmp_path / "bot.toml"
    file.write_text("[engine]\nniceness = 7\nthreads = 2\n")
    settings = MySettings.load(file)
    assert (settings.engine.niceness, settings.engine.threads) == (7, 2)
    assert MySettings.load(file, {"engine": {"niceness": 8}}).engine.niceness == 8


def test_the_limit_is_said_in_python_and_in_bot_toml(tmp_path: Path) -> None:
    with pytest.raises(EngineSettingsError) as refused:
        MyEngineSettings(output_dir=tmp_path, niceness=20)
    assert str(refused.value) == "niceness: 20 is no whole number from 0 to 19"
    assert refused.value.key == "niceness"
    file = tmp_path / "bot.toml"
    file.write_text("[engine]\nniceness = 20\n")
    with pytest.raises(SettingsError) as wrong:
        MySettings.load(file)
    assert wrong.value.key == "engine.niceness"
    assert str(wrong.value) == (
        f"{file}: engine.niceness = 20 is not allowed; allowed: a whole number from 0 to 19"
    )


def test_a_misspelt_key_leads_to_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'did you mean "engine\.niceness"'):
        MySettings.load(None, {"engine": {"nicenes": 1}})
