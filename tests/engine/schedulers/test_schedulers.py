"""What holds for every scheduler, and the solvers of diffusers behind the common interface."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from engine.schedulers import (
    SCHEDULER_NAMES,
    OriginalDDIMScheduler,
    SolverScheduler,
    VideoScheduler,
    make_scheduler,
    scheduler_from_config,
)

SHAPE = (2, 4, 3, 4, 6)
MANY = (2, 4, 3, 16, 24)  # enough values to measure how strong noise is
STOCHASTIC = {"dpm++sde", "lcm"}
PROCESSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rescaled": {"rescale_to": 0.3},
    "rescaled v": {"rescale_to": 0.7, "prediction_type": "v_prediction"},
    "zero snr": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "zero snr, rescaled": {
        "rescale_to": 0.5,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    },
}


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def perfect_prediction(scheduler: VideoScheduler, x0: Tensor, x: Tensor, t: int) -> Tensor:
    """What a network that knows the clean latent would predict, from the forward process alone."""
    alpha = scheduler.schedule.alphas_cumprod[t].item()
    scale = scheduler.schedule.scale[t].item()
    eps = (x - alpha**0.5 * scale * x0) / (1 - alpha) ** 0.5
    if scheduler.prediction_type == "epsilon":
        return eps
    return scheduler.get_velocity(x0, eps, t)


def sample(scheduler: VideoScheduler, x: Tensor, x0: Tensor, steps: int, **options: Any) -> Tensor:
    """A whole run with the perfect network."""
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps.tolist():
        seen = scheduler.scale_model_input(x, t)
        prediction = perfect_prediction(scheduler, x0, seen, t)
        x = scheduler.step(prediction, t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_a_perfect_network_leads_to_its_clean_latent(name: str, process: str) -> None:
    scheduler = make_scheduler(name, **PROCESSES[process])
    x0 = noise(0)
    result = sample(scheduler, noise(1), x0, 20)
    leading = scheduler.timesteps[-1] == 1
    # Those runs end at the first timestep, where 3 % of the noise is left.
    expected = 0.2 if leading else 1e-4
    assert float((result - x0).abs().max()) < expected
    if leading:
        assert float((result - x0).abs().max()) > 1e-3


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_every_step_predicts_the_clean_latent(name: str, process: str) -> None:
    scheduler = make_scheduler(name, **PROCESSES[process])
    scheduler.set_timesteps(8)
    x, x0 = noise(2), noise(3)
    for t in scheduler.timesteps.tolist():
        step = scheduler.step(perfect_prediction(scheduler, x0, x, t), t, x)
        torch.testing.assert_close(step.pred_original_sample, x0, rtol=1e-3, atol=2e-3)
        x = step.prev_sample


def reference_solver(name: str, **options: Any) -> Any:
    common = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        **options,
    }
    if name == "ddim":
        return DDIMScheduler(
            **common,
            clip_sample=False,
            set_alpha_to_one=False,
            timestep_spacing="leading",
            steps_offset=1,
        )
    builders = {
        "dpm++2m": DPMSolverMultistepScheduler,
        "unipc": UniPCMultistepScheduler,
        "euler": EulerDiscreteScheduler,
    }
    return builders[name](**common, timestep_spacing="trailing")


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "unipc", "euler"])
def test_without_rescale_a_solver_is_that_of_diffusers(name: str) -> None:
    ours, theirs = make_scheduler(name), reference_solver(name)
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    assert ours.timesteps.tolist() == [int(t) for t in theirs.timesteps]
    x = noise(4)
    y = x * (theirs.sigmas[0] ** 2 + 1).sqrt() if name == "euler" else x
    for t, their_t in zip(ours.timesteps.tolist(), theirs.timesteps, strict=True):
        seen = theirs.scale_model_input(y, their_t)
        torch.testing.assert_close(x, seen, rtol=2e-3, atol=2e-3)
        y = theirs.step(torch.sin(3 * seen), their_t, y).prev_sample
        x = ours.step(torch.sin(3 * x), t, x).prev_sample
    torch.testing.assert_close(x, y, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "log-snr"])
@hypothesis_settings(max_examples=20, deadline=None)
@given(steps=st.integers(2, 120), eta=st.sampled_from([0.0, 0.4, 1.0]))
def test_ddim_stays_on_the_path_with_any_number_of_steps(
    spacing: Any, steps: int, eta: float
) -> None:
    """With a perfect network every latent is what the forward process makes of the clean one.

    Without added noise its noise is that of the start; with it, noise of the same strength.
    """
    scheduler = make_scheduler("ddim", 0.5, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    assert timesteps[0] >= 999 - 1000 / steps
    x0, eps = noise(0, MANY), noise(1, MANY)
    x = scheduler.add_noise(x0, eps, timesteps[0])
    for t, following in pairwise(timesteps):
        draw = {"variance_noise": noise(t, MANY)} if eta else {}
        prediction = perfect_prediction(scheduler, x0, x, t)
        x = scheduler.step(prediction, t, x, eta=eta, **draw).prev_sample
        expected = scheduler.add_noise(x0, eps, following)
        if eta == 0:
            torch.testing.assert_close(x, expected, rtol=1e-3, atol=2e-3)
        else:
            clean = scheduler.add_noise(x0, 0 * eps, following)
            ratio = float((x - clean).std() / (expected - clean).std())
            assert ratio == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["dpm++2m", "unipc", "euler"])
def test_solvers_agree_with_the_original_sampler_in_the_limit(name: str) -> None:
    """All solve one equation: a rescaled process seen through the translation must stay the same.

    The network here is the best one for clean latents of variance 0.25: it is linear in the sample.
    """

    def run(scheduler: VideoScheduler, steps: int) -> Tensor:
        scheduler.set_timesteps(steps)
        x = noise(5)
        for t in scheduler.timesteps.tolist():
            alpha = scheduler.schedule.alphas_cumprod[t].item()
            scale = scheduler.schedule.scale[t].item()
            sigma = (1 - alpha) ** 0.5
            eps = sigma * x / (0.25 * alpha * scale**2 + sigma**2)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    reference = run(make_scheduler("ddim-original", 0.3), 500)
    assert float((run(make_scheduler(name, 0.3), 200) - reference).abs().mean()) < 0.02


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_saving_and_loading_keeps_the_configuration(name: str, tmp_path: Path) -> None:
    betas = [0.001 + 0.0001 * i for i in range(50)]
    scheduler = make_scheduler(
        name,
        0.4,
        num_train_timesteps=50,
        trained_betas=betas,
        rescale_steps=20,
        prediction_type="v_prediction",
    )
    scheduler.save_pretrained(tmp_path)
    loaded = type(scheduler).from_pretrained(tmp_path)
    assert torch.equal(loaded.schedule.alphas_cumprod, scheduler.schedule.alphas_cumprod)
    assert torch.equal(loaded.schedule.scale, scheduler.schedule.scale)
    draws = {"generator": torch.Generator().manual_seed(1)} if name in STOCHASTIC else {}
    again = {"generator": torch.Generator().manual_seed(1)} if name in STOCHASTIC else {}
    x0 = noise(6)
    first = sample(scheduler, noise(7), x0, 5, **draws)
    assert torch.equal(first, sample(loaded, noise(7), x0, 5, **again))


@pytest.mark.parametrize("other", SCHEDULER_NAMES)
@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_any_solver_samples_the_schedule_of_any_other(name: str, other: str) -> None:
    process = PROCESSES["zero snr, rescaled"]
    config = make_scheduler(name, beta_start=0.001, rescale_steps=300, **process).config
    taken = scheduler_from_config(other, config)
    expected = make_scheduler(other, beta_start=0.001, rescale_steps=300, **process)
    x0 = noise(0)
    draws = {"generator": torch.Generator().manual_seed(1)} if other in STOCHASTIC else {}
    again = {"generator": torch.Generator().manual_seed(1)} if other in STOCHASTIC else {}
    result = sample(taken, noise(1), x0, 5, **draws)
    assert torch.equal(result, sample(expected, noise(1), x0, 5, **again))


def test_the_placing_of_timesteps_is_kept_where_there_is_a_choice() -> None:
    config = make_scheduler("ddim", timestep_spacing="trailing").config
    kept = scheduler_from_config("euler", config)
    assert kept.config["timestep_spacing"] == "trailing"
    for name in ("ddim-original", "lcm"):
        scheduler_from_config(name, config).set_timesteps(10)
    with pytest.raises(ValueError, match="name: one of ddim-original"):
        scheduler_from_config("magic", config)


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_a_fresh_scheduler_shares_nothing_with_a_running_one(name: str) -> None:
    scheduler = make_scheduler(name, 0.3)
    scheduler.set_timesteps(10)
    t = int(scheduler.timesteps[0])
    scheduler.step(noise(8), t, noise(9))
    fresh = scheduler.clone()
    assert fresh.config == scheduler.config
    with pytest.raises(ValueError, match="set_timesteps"):
        fresh.step(noise(8), t, noise(9))
    fresh.set_timesteps(5)
    assert len(scheduler.timesteps) == 10


@pytest.mark.parametrize(("name", "eta"), [("ddim-original", 1.0), ("ddim", 0.5), ("dpm++sde", 0)])
def test_noise_comes_from_the_generators_or_is_replayed(name: str, eta: float) -> None:
    scheduler = make_scheduler(name, 0.7)
    assert scheduler.is_stochastic(eta)

    def second_sample(**source: Any) -> Tensor:
        scheduler.set_timesteps(10)
        t = int(scheduler.timesteps[0])
        return scheduler.step(noise(10), t, noise(11), eta=eta, **source).prev_sample[1]

    def generator(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    drawn = second_sample(generator=[generator(1), generator(2)])
    assert torch.equal(drawn, second_sample(generator=[generator(3), generator(2)]))
    assert not torch.equal(drawn, second_sample(generator=[generator(1), generator(3)]))
    unit = torch.randn((1, *SHAPE[1:]), generator=generator(2))
    assert torch.equal(drawn, second_sample(variance_noise=unit.expand(SHAPE)))


def test_lcm_replays_noise_and_leaves_the_default_generator_alone() -> None:
    scheduler = make_scheduler("lcm", 0.3)
    before = torch.random.get_rng_state()
    scheduler.set_timesteps(4)
    t = int(scheduler.timesteps[0])
    one = scheduler.step(noise(12), t, noise(13), variance_noise=noise(14)).prev_sample
    scheduler.set_timesteps(4)
    two = scheduler.step(noise(12), t, noise(13), variance_noise=noise(15)).prev_sample
    assert torch.equal(before, torch.random.get_rng_state())
    following = int(scheduler.timesteps[1])
    sigma = (1 - scheduler.schedule.alphas_cumprod[following]).sqrt().float()
    torch.testing.assert_close(two - one, sigma * (noise(15) - noise(14)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"variance_noise": torch.zeros(1, 4, 3, 4, 6)}, "variance_noise: shape"),
        ({"generator": [torch.Generator()]}, "generator: one, or 2"),
        (
            {"generator": torch.Generator(), "variance_noise": torch.zeros(SHAPE)},
            "either variance_noise or generator",
        ),
        ({"eta": 1.5}, "eta: 0 to 1"),
        ({"eta": -0.1}, "eta: 0 to 1"),
    ],
)
@pytest.mark.parametrize("name", ["ddim", "ddim-original"])
def test_step_refuses_arguments_that_do_not_fit(
    name: str, source: dict[str, Any], message: str
) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match=message):
        scheduler.step(noise(0), int(scheduler.timesteps[0]), noise(1), **{"eta": 1.0, **source})


def test_eta_is_refused_where_it_would_do_nothing() -> None:
    for name in ("dpm++2m", "dpm++sde", "unipc", "euler", "lcm"):
        with pytest.raises(ValueError, match=r"eta: must be 0 with"):
            make_scheduler(name).is_stochastic(1.0)


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_a_timestep_outside_the_run_is_refused(name: str) -> None:
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="timestep: one of"):
        scheduler.step(noise(0), 3, noise(1))


@pytest.mark.parametrize("name", ["dpm++2m", "dpm++sde", "unipc", "euler", "ddim"])
@hypothesis_settings(max_examples=25, deadline=None)
@given(steps=st.one_of(st.integers(1, 998), st.sampled_from([61, 103, 121])))
def test_timesteps_descend_within_the_schedule(name: str, steps: int) -> None:
    """61 and others make diffusers append a timestep of -1 when spacing is trailing."""
    for spacing in ("leading", "trailing", "log-snr"):
        scheduler = make_scheduler(name, timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps.tolist()
        assert len(timesteps) == steps
        assert timesteps == sorted(set(timesteps), reverse=True)
        assert 0 <= timesteps[-1] <= timesteps[0] <= 999


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", ["dpm++2m", "dpm++sde", "unipc", "euler", "ddim"])
def test_even_steps_of_the_log_snr_cover_the_schedule(name: str, process: str) -> None:
    scheduler = make_scheduler(name, timestep_spacing="log-snr", **PROCESSES[process])
    x0 = noise(1)
    torch.testing.assert_close(sample(scheduler, noise(2), x0, 12), x0, rtol=0, atol=1e-3)
    timesteps = scheduler.timesteps
    assert (timesteps[0], timesteps[-1]) == (999, 0)
    alphas = scheduler.schedule.alphas_cumprod_vp[timesteps].clamp(min=2**-24)
    widths = (alphas / (1 - alphas)).log().diff()
    assert float(widths.min()) > 0.6 * float(widths.max())
    before = scheduler.timesteps.tolist()
    scheduler.set_timesteps(1000)
    assert scheduler.timesteps.tolist() == list(range(999, -1, -1))
    scheduler.set_timesteps(12)
    assert scheduler.timesteps.tolist() == before


def test_log_snr_steps_of_a_second_order_solver_are_those_of_diffusers() -> None:
    ours = make_scheduler("dpm++2m", timestep_spacing="log-snr")
    theirs = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        use_lu_lambdas=True,
        timestep_spacing="trailing",
    )
    ours.set_timesteps(12)
    theirs.set_timesteps(12)
    assert ours.timesteps.tolist() == pytest.approx(theirs.timesteps.tolist(), abs=1)
    x = y = noise(4)
    for t, their_t in zip(ours.timesteps.tolist(), theirs.timesteps, strict=True):
        x = ours.step(torch.sin(x), t, x).prev_sample
        y = theirs.step(torch.sin(y), their_t, y).prev_sample
    torch.testing.assert_close(x, y, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["dpm++2m", "unipc", "euler", "ddim"])
def test_more_steps_than_fit_are_refused(name: str) -> None:
    """Leading leaves out timestep 0, so a thousand steps would need a timestep twice."""
    scheduler = make_scheduler(name, timestep_spacing="leading")
    with pytest.raises(ValueError, match="num_inference_steps: 1000 steps do not fit"):
        scheduler.set_timesteps(1000)


def test_a_run_of_a_count_with_rounding_trouble_still_ends_at_the_clean_latent() -> None:
    for name in ("dpm++2m", "unipc", "euler", "ddim"):
        scheduler = make_scheduler(name, timestep_spacing="trailing")
        x0 = noise(1)
        torch.testing.assert_close(sample(scheduler, noise(2), x0, 61), x0, rtol=0, atol=0.02)


def test_pure_noise_at_the_end_starts_runs_at_the_last_timestep() -> None:
    for name in ("ddim", "dpm++2m", "euler", "unipc"):
        scheduler = make_scheduler(
            name, prediction_type="v_prediction", rescale_betas_zero_snr=True
        )
        scheduler.set_timesteps(12)
        assert scheduler.timesteps[0] == 999
        assert scheduler.schedule.alphas_cumprod[-1] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "plms"}, "name: one of ddim-original, ddim"),
        ({"rescale_to": 0.0}, "rescale_to: above 0"),
        ({"rescale_to": 1.5}, "rescale_to: above 0"),
        ({"rescale_steps": 1}, "rescale_steps: at least 2"),
        ({"num_train_timesteps": 1}, "num_train_timesteps: at least 2"),
        ({"beta_start": 0.5}, "beta_start"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas: 1000 values"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, 1.2]}, "trained_betas: every value"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, float("nan")]}, "trained_betas: every"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, 1.0]}, "'v_prediction' is needed"),
        ({"rescale_betas_zero_snr": True}, "'v_prediction' is needed"),
        ({"prediction_type": "sample"}, "prediction_type: one of epsilon, v_prediction"),
        ({"timestep_spacing": "linspace"}, "timestep_spacing: one of leading, trailing"),
        ({"name": "lcm", "timestep_spacing": "leading"}, "lcm places"),
        ({"name": "ddim-original", "timestep_spacing": "leading"}, "ddim-original has its own"),
    ],
)
def test_make_scheduler_names_the_wrong_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_scheduler(**{"name": "ddim", **arguments})


def test_lcm_runs_at_most_the_steps_it_was_distilled_for() -> None:
    with pytest.raises(ValueError, match="num_inference_steps: 1 to 50"):
        make_scheduler("lcm").set_timesteps(51)


def test_add_noise_takes_one_timestep_or_one_per_sample() -> None:
    scheduler = make_scheduler("ddim", 0.3)
    both = scheduler.add_noise(noise(0), noise(1), torch.tensor([10, 900]))
    for index, t in enumerate((10, 900)):
        single = scheduler.add_noise(noise(0), noise(1), t)
        assert torch.equal(both[index], single[index])
    for wrong in (1000, -1, torch.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match="timesteps"):
            scheduler.add_noise(noise(0), noise(1), wrong)


def test_names_map_to_the_two_classes() -> None:
    for name in SCHEDULER_NAMES:
        expected = OriginalDDIMScheduler if name == "ddim-original" else SolverScheduler
        assert type(make_scheduler(name)) is expected
