"""Metrics: what is counted, and that Prometheus understands it."""

import logging
import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.operations.gpus import GpuMemory
from bot.operations.health import RateLimitWatch
from bot.operations.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every value, read as Prometheus would."""
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"floor33_{name}", tuple(sorted(labels.items()))]


def test_a_job_is_followed_from_the_command_to_its_end() -> None:
    metrics = Metrics()
    metrics.job_accepted("imagine", "demo-t2v")
    metrics.job_started("demo-t2v", 12.0)
    metrics.job_rendered("demo-t2v", "cuda:0", 8.0, steps=16)
    metrics.job_rendered("demo-t2v", "cuda:0", 4.0, steps=16)
    metrics.job_ended("delivered")
    metrics.job_ended("failed", "out_of_memory")
    metrics.job_ended("failed", "out_of_memory")
    metrics.job_retried("out_of_memory")
    assert value(metrics, "jobs_accepted_total", kind="imagine", model="demo-t2v") == 1
    assert value(metrics, "job_wait_seconds_sum", model="demo-t2v") == 12
    assert value(metrics, "job_wait_seconds_bucket", model="demo-t2v", le="10.0") == 0
    assert value(metrics, "job_wait_seconds_bucket", model="demo-t2v", le="20.0") == 1
    place = {"model": "demo-t2v", "device": "cuda:0"}
    assert value(metrics, "job_run_seconds_count", **place) == 2
    assert value(metrics, "steps_total", **place) == 32
    assert value(metrics, "steps_per_second", **place) == 4.0
    assert value(metrics, "jobs_ended_total", state="delivered", reason="") == 1
    assert value(metrics, "jobs_ended_total", state="failed", reason="out_of_memory") == 2
    assert value(metrics, "jobs_retried_total", reason="out_of_memory") == 1


def test_delivery_and_the_machine_are_counted() -> None:
    metrics = Metrics()
    metrics.acknowledged("imagine", 0.2)
    metrics.discord_edited()
    metrics.discord_edited("failed")
    metrics.upload_retried("too_large")
    metrics.upload_encoded("gif")
    metrics.database_waited(0.002)
    metrics.database_failed("busy")
    metrics.files_expired(3, 4096)
    assert value(metrics, "acknowledge_seconds_bucket", command="imagine", le="0.25") == 1
    assert value(metrics, "discord_edits_total", outcome="failed") == 1
    assert value(metrics, "upload_retries_total", reason="too_large") == 1
    assert value(metrics, "upload_encodings_total", format="gif") == 1
    assert value(metrics, "database_write_wait_seconds_count") == 1
    assert value(metrics, "database_errors_total", trouble="busy") == 1
    assert value(metrics, "expired_clips_total") == 3
    assert value(metrics, "expired_bytes_total") == 4096


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics, waiting = Metrics(), [1, 2, 3]

    def broken() -> float:
        raise OSError("no such disk")

    metrics.watch(
        waiting=lambda: len(waiting),
        running=lambda: 1,
        free_bytes=broken,
        gateway=lambda: True,
        lag_s=lambda: 0.5,
    )
    assert value(metrics, "queue_jobs", state="waiting") == 3
    waiting.clear()
    assert value(metrics, "queue_jobs", state="waiting") == 0
    assert value(metrics, "queue_jobs", state="running") == 1
    assert value(metrics, "gateway_connected") == 1
    assert value(metrics, "loop_lag_seconds") == 0.5
    assert math.isnan(value(metrics, "disk_free_bytes"))


def test_two_bots_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.job_ended("delivered")
    assert value(first, "jobs_ended_total", state="delivered", reason="") == 1
    assert not any(name == "floor33_jobs_ended_total" for name, _ in samples(second))


def test_the_memory_of_the_process_is_there() -> None:
    assert samples(Metrics())["process_resident_memory_bytes", ()] > 10**6


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_the_scraper_chooses_the_format(accept: str, kind: str) -> None:
    body, content_type = Metrics().exposition(accept)
    assert content_type.startswith(kind)
    assert body.endswith(b"# EOF\n") is kind.startswith("application")


def test_only_gpus_have_gpu_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"memory_allocated": 1, "memory_reserved": 2, "mem_get_info": (3, 4)}
    for name, figure in figures.items():
        # This machine may have no GPU: the driver's answers are all that is made up.
        monkeypatch.setattr(f"torch.cuda.{name}", lambda _device, figure=figure: figure)
    metrics = Metrics()
    metrics.registry.register(GpuMemory(("cpu", "cuda:0", "cuda:1")))
    for device in ("cuda:0", "cuda:1"):
        found = [
            value(metrics, f"gpu_memory_{name}_bytes", device=device)
            for name in ("allocated", "reserved", "free", "total")
        ]
        assert found == [1, 2, 3, 4]
    assert not any(("device", "cpu") in labels for _, labels in samples(metrics))


def warn(name: str, message: str, *args: Any, level: int = logging.WARNING) -> None:
    logging.getLogger(name).log(level, message, *args)


def test_discords_refusals_are_counted_from_its_librarys_log() -> None:
    metrics = Metrics()
    watch = RateLimitWatch(metrics)
    watch.install()
    limited = "We are being rate limited. %s %s responded with 429. Retrying in %.2f seconds."
    hook = "Webhook ID %s is rate limited. Retrying in %.2f seconds."
    warn("discord.http", limited, "PATCH", "/x", 1.5)
    warn("discord.webhook.async_", hook, 7, 0.5)
    warn("discord.http", "Global rate limit has been hit. Retrying in %.2f seconds.", 9.0)
    watch.remove()
    warn("discord.http", limited, "PATCH", "/x", 1.5)
    assert value(metrics, "discord_rate_limits_total") == 2
    assert value(metrics, "discord_rate_limit_wait_seconds_total") == 2.0


def test_discords_library_still_words_it_so() -> None:
    """Its log is no interface: an update that changes it must not silence the metric."""
    import inspect

    import discord.http
    import discord.webhook.async_

    assert "'We are being rate limited. %s %s responded with 429. Retrying in" in inspect.getsource(
        discord.http
    )
    assert "'Webhook ID %s is rate limited. Retrying in" in inspect.getsource(
        discord.webhook.async_
    )


def test_a_clock_that_was_put_back_makes_no_negative_times() -> None:
    metrics = Metrics()
    metrics.job_started("demo-t2v", -600.0)
    metrics.acknowledged("imagine", -2.0)
    metrics.database_waited(-1.0)
    metrics.job_rendered("demo-t2v", "cpu", -3.0, 4)
    shown = metrics.exposition()[0].decode()
    for name in ("job_wait", "acknowledge", "database_write_wait", "job_run"):
        (total,) = [
            line for line in shown.splitlines() if line.startswith(f"floor33_{name}_seconds_sum")
        ]
        assert float(total.rpartition(" ")[2]) == 0.0, total
