"""The slow tests and the reason why each is slow; `pytest -m "not slow"` leaves them out.

A name is a file of tests below `tests/`, or one test of a file. What is not named here takes less
than about a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

_SLOW: dict[str, tuple[str, ...]] = {
    "starts PostgreSQL and poolers": (
        "bot/store/test_pooler.py",
        "bot/store/test_postgres.py",
    ),
    "starts processes under every umask": ("bot/test_private_files.py",),
    "waits until Discord is given up": (
        "bot/test_answers.py",
        "bot/test_discord_login.py",
        "bot/test_other_versions.py",
        "bot/test_registration.py",
    ),
    "draws a whole report": (
        "training/evaluation/test_html_report.py",
        "training/evaluation/test_report.py",
    ),
    "runs a benchmark on a small scale": (
        "benchmarks/test_batches.py::test_every_batch_size_is_measured_in_every_round",
        "benchmarks/test_faults.py",
        "benchmarks/test_solvers.py",
    ),
    "runs the bot against a Discord server on the loopback address, or as a process": (
        "bot/operations/test_service.py",
        "bot/test_acknowledge.py",
        "bot/test_busy_database.py",
        "bot/test_command_line.py",
        "bot/test_database_gone.py",
        "bot/test_ending.py",
        "bot/test_full_disk.py",
        "bot/test_installing.py",
        "bot/test_kill.py",
        "bot/test_loopback.py",
        "bot/test_moderation.py",
        "bot/test_odd_answers.py",
        "bot/test_orderly_end.py",
        "bot/test_patience.py",
        "bot/test_private_answers.py",
        "bot/test_refusals.py",
        "bot/test_sent_once.py",
        "bot/test_uploads.py",
        "bot/test_wire_events.py",
        "bot/test_wire_gateway.py",
        "bot/test_wire_missed.py",
    ),
    "goes through every migration, or waits for locks, on both databases": (
        "bot/store/test_database.py",
        "bot/store/test_jobs.py",
        "bot/store/test_lease.py::test_closing_does_not_wait_for_a_locked_database",
        "bot/store/test_migrations.py",
        "bot/store/test_ratings.py",
    ),
    "has the bot make and deliver clips, one after the other": (
        "bot/operations/test_checks.py::test_an_address_that_is_free_taken_or_elsewhere",
        "bot/operations/test_privacy.py::test_somebody_is_forgotten_while_the_bot_runs",
        "bot/test_animate.py",
        "bot/test_bad_input.py",
        "bot/test_buttons.py",
        "bot/test_delivery.py",
        "bot/test_job_commands.py",
        "bot/test_loras.py::test_a_variant_is_offered_and_makes_clips",
        "bot/test_model_folders.py",
        "bot/test_once.py::test_animate_with_expansion_decodes_its_picture_once",
        "bot/test_once.py::test_imagine_with_expansion_only_changes_the_words",
        "bot/test_paths.py",
        "bot/test_ratings.py",
        "bot/test_restart.py",
        "bot/test_settings.py::test_a_file_that_is_nested_too_deeply_is_one_line",
        "bot/test_what_is_kept.py",
        "bot/test_who_may_use_it.py",
    ),
    "drives a real browser": ("browser/test_preview.py",),
    "starts commands as processes of their own": (
        "command_line/test_every_command.py",
        "engine/cli/test_cli.py",
        "engine/cli/test_lora_commands.py::test_generate_with_a_lora",
        "engine/cli/test_memory_options.py::test_what_needs_a_gpu_is_told_and_ignored",
        "engine/cli/test_published.py::test_ctrl_c_says_how_to_go_on_and_the_next_command_does",
    ),
    "samples or converts whole small models": (
        "engine/pipelines/test_arguments.py",
        "engine/checkpoints/test_load.py",
        "engine/checkpoints/original/test_convert.py",
        "engine/checkpoints/original/test_golden.py::test_from_the_checkpoint_to_frames",
        "engine/checkpoints/original/test_inventory.py::test_every_tensor_of_a_network_has_one_source",
        "engine/checkpoints/test_foreign_folders.py::test_whatever_is_done_to_a_file_costs_one_model",
        "engine/checkpoints/test_install.py",
        "engine/checkpoints/test_lora.py",
        "engine/checkpoints/test_lora_numbers.py",
        "engine/pipelines/test_exactness.py",
        "engine/pipelines/test_pipelines.py",
        "engine/pipelines/test_recorded_trajectories.py",
        "engine/schedulers/test_original_ddim.py",
        "engine/schedulers/test_schedulers.py",
    ),
    "renders clips with small models, or waits for threads that hang": (
        "engine/models/test_golden.py",
        "engine/serving/test_fit.py",
        "engine/serving/test_backends.py::test_what_a_family_raises_ends_its_job_alone",
        "engine/serving/test_batches.py",
        "engine/serving/test_changed_folder.py",
        "engine/serving/test_encode.py::test_an_encoder_whose_clip_nobody_wants_any_more_is_killed",
        "engine/serving/test_ending.py",
        "engine/serving/test_engine.py",
        "engine/serving/test_formats.py::test_limits_are_kept_by_quality_and_then_by_size",
        "engine/serving/test_memory.py",
        "engine/serving/test_missing_encoder.py",
        "engine/serving/test_models.py",
        "engine/serving/test_options.py",
        "engine/serving/test_picture_files.py::test_a_large_picture_is_made_smaller_while_it_is_decoded",
        "engine/serving/test_sameness.py",
        "engine/serving/test_watchdog.py",
        "engine/serving/test_worker.py",
    ),
    "runs a Ray cluster, or one like it with hung and lost actors": (
        "engine/serving/test_ray.py",
        "engine/serving/test_ray_engine.py",
        "engine/serving/test_ray_worker.py",
    ),
    "trains a small model, often in processes that are killed and resumed": (
        "training/data/test_loader.py",
        "training/data/test_odd_photos.py::test_what_nobody_has_foreseen_ends_none_either",
        "training/test_checkpoint.py::test_a_full_disk_leaves_what_was_there",
        "training/test_initialise.py",
        "training/test_launch.py",
        "training/test_loop.py::test_resumed_equals_uninterrupted_bit_for_bit",
        "training/test_lora.py",
        "training/test_objective.py::test_the_recorded_loss",
        "training/test_plan.py",
        "training/test_stages.py",
        "training/video/test_scheme.py",
        "training/video/test_steps.py",
    ),
    "draws, judges and reports many clips": (
        "training/evaluation/test_fps_curve.py",
        "training/evaluation/test_command.py",
        "training/evaluation/test_ground_truth.py",
        "training/evaluation/test_measure.py",
    ),
    "waits for a server that is slow on purpose": (
        "prompt_expansion/test_server_ways.py::test_nobody_runs_out_of_time_for_standing_in_line",
    ),
}

REASONS = {name: why for why, names in _SLOW.items() for name in names}


def reason(item: pytest.Item) -> str | None:
    """Return why a test is slow; None if it is not."""
    path = item.path.resolve()
    if not path.is_relative_to(HERE):
        return None
    file = path.relative_to(HERE).as_posix()
    if "[postgresql" in item.name:
        return "the same on a PostgreSQL server"
    name = getattr(item, "originalname", None) or item.name
    return REASONS.get(f"{file}::{name}") or REASONS.get(file)


def mark(items: Iterable[pytest.Item]) -> None:
    """Give each slow test its mark."""
    for item in items:
        if why := reason(item):
            item.add_marker(pytest.mark.slow(reason=why))
