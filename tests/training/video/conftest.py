"""The studio that these tests share."""

from __future__ import annotations

import pytest

from tests.training.video.studio import Studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))
