"""The sampler of the public VideoCrafter code, to the number.

DDIM (arXiv 2010.02502) on the timesteps 1, 1 + c, 1 + 2c, … with ``c = T // steps``. The last step
goes to ``abar_0`` and not to 1. With rescale the predicted clean latent is divided by ``s_t`` and
multiplied by the ``s`` of the next timestep, while the variance is that of ``abar`` alone.
"""

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from engine.schedulers.base import SchedulerStep, VideoScheduler, check_eta
from engine.schedulers.config import NoiseScheduleConfig, PredictionType, original_can_run
from engine.schedulers.noise import Generators, step_noise


class OriginalDDIMScheduler(VideoScheduler):
    """Reference sampler; for the arguments see `NoiseScheduleConfig`.

    When ``steps`` does not divide the number of timesteps the run has more steps than asked for
    (7 gives 8), and for some counts (3, 9, 27, 101-111 of 1000) there is no such run at all.
    """

    # What model folders record: independent of how the files of this package are cut.
    __module__ = "engine.schedulers"

    default_eta = 1.0  # of all published scripts

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        trained_betas: Sequence[float] | None = None,
        rescale_to: float | None = None,
        rescale_steps: int = 400,
        prediction_type: PredictionType = "epsilon",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self._prepare(
            NoiseScheduleConfig(
                num_train_timesteps=num_train_timesteps,
                beta_start=beta_start,
                beta_end=beta_end,
                trained_betas=None if trained_betas is None else tuple(trained_betas),
                rescale_to=rescale_to,
                rescale_steps=rescale_steps,
                prediction_type=prediction_type,
                rescale_betas_zero_snr=rescale_betas_zero_snr,
            )
        )

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Begin a run; see the class for step counts that the original does not know."""
        total = self.num_train_timesteps
        self._check_steps(num_inference_steps, total)
        if not original_can_run(num_inference_steps, total):
            near = sorted(
                (count for count in range(1, total + 1) if original_can_run(count, total)),
                key=lambda count: abs(count - num_inference_steps),
            )[:2]
            raise ValueError(
                f"num_inference_steps: the original sampler cannot run {num_inference_steps} steps "
                f"(its timesteps would reach {total}); nearest that it can: "
                f"{', '.join(map(str, sorted(near)))}"
            )
        stride = total // num_inference_steps
        self._begin([t + 1 for t in reversed(range(0, total, stride))], device)

    def is_stochastic(self, eta: float) -> bool:
        """Return True if ``eta`` is above 0; it must be in 0 .. 1."""
        check_eta(eta)
        return eta > 0

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: Generators | None = None,
        variance_noise: Tensor | None = None,
    ) -> SchedulerStep:
        """One DDIM step; see the base class for the arguments."""
        check_eta(eta)
        t = int(timestep)
        following = self._following(self._position(timestep))
        # The reference keeps abar in float32 and the derived values in float64. At the last step
        # 1 - abar has few digits left, so other roundings would show in the variance.
        alpha = self.schedule.alphas_cumprod[t].float()
        alpha_prev = self.schedule.alphas_cumprod[following].float().double()
        scale_prev = float(self.schedule.scale[following])
        variance = (1 - alpha_prev) / (1 - alpha).double()
        sigma = eta * (variance * (1 - alpha.double() / alpha_prev)).sqrt()

        original = self.predict_original(model_output, t, sample)
        noise_direction = self.predict_noise(model_output, t, sample)
        towards = float((1 - alpha_prev - sigma**2).sqrt())
        prev_sample = float(alpha_prev.sqrt()) * scale_prev * original + towards * noise_direction
        if eta > 0:
            noise = step_noise(sample, generator, variance_noise)
            prev_sample = prev_sample + float(sigma) * noise
        return SchedulerStep(prev_sample=prev_sample, pred_original_sample=original)

    def _following(self, position: int) -> int:
        """Timestep that the step at this position leads to."""
        return int(self.timesteps[position + 1]) if position + 1 < len(self.timesteps) else 0
