"""`python -m bot` without a token, used in a real browser.

With FLOOR33_SCREENSHOT set to a path the shipped models are used and a picture of the page with
the finished clip is kept there (docs/preview.png is made that way).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.engine.conftest import write_tiny_model

webdriver = pytest.importorskip("selenium.webdriver")
exceptions = pytest.importorskip("selenium.common.exceptions")

BINARIES = {
    "browser": shutil.which("chromium") or shutil.which("google-chrome"),
    "driver": shutil.which("chromedriver"),
}
pytestmark = pytest.mark.skipif(
    None in BINARIES.values(), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)
SCREENSHOT = os.environ.get("FLOOR33_SCREENSHOT")
PATIENCE_S = 240.0
MESSAGES = "#channel-message-list"
PREVIEW_IS_SHOWN = (
    "return [...document.querySelectorAll('#channel-message-list img')]"
    ".some(i => i.alt.startsWith('Embed') && i.naturalWidth > 0)"
)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A bot.toml with a tiny model of many steps, so that there is progress to be seen."""
    file = tmp_path / "bot.toml"
    if SCREENSHOT:
        file.write_text("")
        return file
    model = write_tiny_model(tmp_path / "models" / "tiny-t2v", with_image=False)
    facts = json.loads((model / "floor33.json").read_text())
    facts |= {"default_steps": 400, "max_steps": 400, "fps": [4], "default_fps": 4}
    (model / "floor33.json").write_text(json.dumps(facts))
    file.write_text(
        '[engine]\ndevices = ["cpu"]\nthreads = 1\n'
        '[models]\ntext_to_video = "tiny-t2v"\n'
        f'[models.extra]\ntiny-t2v = "{model}"\n'
    )
    return file


@pytest.fixture
def bot(tmp_path: Path, settings: Path) -> Iterator[subprocess.Popen[str]]:
    """The bot as a user starts it; its log is in tmp_path/log."""
    environment = {key: value for key, value in os.environ.items() if key != "DISCORD_TOKEN"}
    environment |= {"FLOOR33_CONFIG": str(settings), "FLOOR33_DATA_DIR": str(tmp_path / "data")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot"],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BINARIES["browser"]
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        f"window-size=1280,{1280 if SCREENSHOT else 1000}",  # the picture shows the whole card
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=BINARIES["driver"])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.time() + PATIENCE_S
    while not (found := condition()):
        assert time.time() < deadline, f"did not happen: {what}"
        time.sleep(0.1)
    return found


SHOWN = "[...document.querySelectorAll(arguments[0])].find(e => e.offsetParent !== null)"


def find(browser: Any, css: str) -> Any:
    """The first shown element, or None."""
    return browser.execute_script(f"return {SHOWN} || null", css)


def click(browser: Any, css: str) -> None:
    """Click the first shown element once there is one; the page may redraw it at any time."""
    script = f"const e = {SHOWN}; if (e) e.click(); return Boolean(e)"
    until(lambda: browser.execute_script(script, css), f"{css} is shown")


def typed(browser: Any, css: str, text: str) -> None:
    """Type into the first shown element once there is one."""

    def attempt() -> bool:
        try:
            element = find(browser, css)
            if element is not None:
                element.send_keys(text)
            return element is not None
        except exceptions.StaleElementReferenceException:
            return False

    until(attempt, f"{css} can be typed into")


def video(browser: Any, name: str) -> Any:
    """A property of the clip's player."""
    return browser.execute_script(
        f"const e = {SHOWN}; return e ? e[arguments[1]] : null", "video", name
    )


def page_text(browser: Any) -> str:
    script = "return document.querySelector(arguments[0])?.innerText || ''"
    return str(browser.execute_script(script, MESSAGES))


def ratings(data: Path) -> list[tuple[int, int]]:
    with contextlib.closing(sqlite3.connect(data / "floor33.db")) as database:
        return database.execute("select value, self_vote from ratings").fetchall()


def imagine(browser: Any, prompt: str) -> None:
    typed(browser, "#channel-composer-input", "/imagine")
    click(browser, ".command-entry")
    typed(browser, "[aria-label^='prompt, required']", prompt)
    click(browser, "#send-message:not([disabled])")


def test_a_newcomer_makes_and_rates_a_clip(
    bot: subprocess.Popen[str], browser: Any, tmp_path: Path
) -> None:
    assert bot.stdout is not None
    line = bot.stdout.readline()
    addresses = re.findall(r"http://127\.0\.0\.1:\S+", line)
    assert len(addresses) == 1, (line, (tmp_path / "log").read_text())
    assert "DISCORD_TOKEN" in line

    browser.get(addresses[0])
    imagine(browser, "a red circle moving to the left")

    seen: set[str] = set()

    def finished() -> bool:
        text = page_text(browser)
        seen.update(re.findall(r"step (\d+)/", text))
        if browser.execute_script(PREVIEW_IS_SHOWN):
            seen.add("preview")
        return "Clip ready" in text

    until(finished, "the clip is ready, without reloading the page")
    assert "preview" in seen
    assert len(seen) > 2, "the progress moved by itself"
    assert "a red circle moving to the left" in page_text(browser)

    until(lambda: (video(browser, "readyState") or 0) >= 2, "the clip is loaded")
    # Muted: browsers start nothing with sound by themselves.
    browser.execute_script(
        f"const v = {SHOWN}; v.muted = true; v.loop = true; return v.play()", "video"
    )
    until(lambda: (video(browser, "currentTime") or 0) > 0, "the clip plays")
    assert video(browser, "error") is None
    assert video(browser, "videoWidth") >= 256

    until(lambda: "👍" in page_text(browser), "the thumbs are shown")
    click(browser, "button.reaction-chip")
    assert until(lambda: ratings(tmp_path / "data"), "the rating is stored") == [(1, 1)]

    if SCREENSHOT:
        time.sleep(1)
        browser.save_screenshot(SCREENSHOT)

    bot.send_signal(signal.SIGINT)
    assert bot.wait(timeout=60) == 0
    assert bot.stdout.read() == ""
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
