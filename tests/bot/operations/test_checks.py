"""What the doctor says about running the bot as a service."""

import socket
from pathlib import Path
from typing import Any

import pytest

from bot.doctor import DiagnosticResult, Status
from bot.doctor.service import check_service
from bot.operations.health import HealthStatus
from bot.operations.http import OperationsServer
from bot.operations.metrics import Metrics
from bot.settings import Settings


async def check(name: str, **overrides: Any) -> DiagnosticResult | None:
    checks = await check_service(Settings.load(overrides=overrides))
    assert all(found.advice for found in checks if found.status is not Status.OK)
    return next((found for found in checks if found.name == name), None)


async def found(name: str, **overrides: Any) -> tuple[Status, str]:
    one = await check(name, **overrides)
    assert one is not None
    return one.status, one.detail


async def test_as_it_comes_there_is_little_to_check() -> None:
    assert await check("database") is None
    assert await check("operations") is None
    assert await check("log file") is None
    assert await found("retention") == (Status.OK, "clips are kept for ever")


async def test_a_server_that_does_not_answer(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/x"
    monkeypatch.setenv("FLOOR33_DATABASE_URL", address)
    status, detail = await found("database")
    assert status is Status.FAIL
    assert "is PostgreSQL running?" in detail
    assert "hunter2" not in detail


async def test_an_address_that_is_free_taken_or_elsewhere(unused_tcp_port: int) -> None:
    here = {"host": "127.0.0.1", "port": unused_tcp_port}
    status, detail = await found("operations", operations=here)
    assert (status, str(unused_tcp_port) in detail) == (Status.OK, True)
    with socket.create_server(("127.0.0.1", unused_tcp_port)):
        assert (await found("operations", operations=here))[0] is Status.WARN
    elsewhere = {"host": "192.0.2.1", "port": unused_tcp_port}  # of RFC 5737, for documents
    assert (await found("operations", operations=elsewhere))[0] is Status.FAIL


async def test_a_bot_that_runs_says_how_it_is(unused_tcp_port: int) -> None:
    async def warming() -> HealthStatus:
        return HealthStatus(True, "demo-t2v; warming up")

    server = OperationsServer(Metrics(), {"models": warming}, lambda: 0.0)
    await server.start("127.0.0.1", unused_tcp_port)
    try:
        here = {"host": "127.0.0.1", "port": unused_tcp_port}
        status, detail = await found("operations", operations=here)
    finally:
        await server.close()
    assert status is Status.OK
    assert detail.endswith("models: demo-t2v; warming up")


async def test_a_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    assert await found("log file", log={"file": str(tmp_path / "new" / "bot.log")}) == (
        Status.OK,
        str(tmp_path / "new" / "bot.log"),
    )
    (tmp_path / "file").write_text("in the way")
    for wrong in (tmp_path / "file" / "bot.log", tmp_path):
        assert (await found("log file", log={"file": str(wrong)}))[0] is Status.FAIL


@pytest.mark.parametrize(
    ("retention", "said"),
    [
        ({"max_age_days": 30}, "for 30 days"),
        ({"max_gb": 1.5}, "for 1.5 GB"),
        ({"max_age_days": 7, "max_gb": 20.0}, "for 7 days or 20 GB"),
    ],
)
async def test_what_is_kept_is_said(retention: dict[str, Any], said: str) -> None:
    assert (await found("retention", retention=retention))[1].endswith(said)
