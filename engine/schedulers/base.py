"""Base of the schedulers: the forward process, conversions, and the interface.

All of them keep the latent in the space of the network: the tensor that goes from step to step is
the ``x_t`` the network sees. So unit noise is the right start for every scheduler, latents can be
handed from one to another, and ``scale_model_input`` changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from numbers import Integral, Real
from typing import Self, cast

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from engine.schedulers.config import NoiseScheduleConfig
from engine.schedulers.noise import Generators
from engine.schedulers.noise_schedule import NoiseSchedule


@dataclass
class SchedulerStep(BaseOutput):
    """Result of one sampling step; both tensors have the shape of the sample.

    Attributes:
        prev_sample: latent for the next, less noisy step.
        pred_original_sample: clean latent as the network sees it from this step.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class VideoScheduler(ABC, SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # config_name
    """Base of the schedulers; see the module docstring for the space of the latents.

    A scheduler is saved and loaded as in diffusers (``save_pretrained``, ``from_pretrained``).
    After ``set_timesteps`` it carries the state of one run: take ``clone()`` for each run.

    Attributes:
        timesteps: int64, strictly descending; filled by ``set_timesteps``.
        init_noise_sigma: standard deviation of the starting noise, always 1.
        order: calls of the network per timestep, always 1.
        default_eta: the ``eta`` that clips are made with where nobody asks for another.
    """

    order = 1
    init_noise_sigma = 1.0
    default_eta = 0.0
    timesteps: Tensor

    def _prepare(self, config: NoiseScheduleConfig) -> None:
        """Set up the forward process; called by the constructors."""
        self.prediction_type = config.prediction_type
        self.num_train_timesteps = config.num_train_timesteps
        self.schedule = NoiseSchedule.from_config(config)
        self.timesteps = torch.arange(config.num_train_timesteps - 1, -1, -1)
        self._positions: dict[int, int] = {}

    def clone(self) -> Self:
        """Return a scheduler of the same configuration without the state of a run."""
        return cast(Self, type(self).from_config(self.config))

    def fresh(self) -> Self:
        """Return a `clone`: its earlier name, kept for one release."""
        return self.clone()

    @property
    def usual_eta(self) -> float:
        """The earlier name of `default_eta`, kept for one release."""
        return self.default_eta

    @abstractmethod
    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Begin a run.

        Args:
            num_inference_steps: wished number of steps, at least 1.
            device: where ``timesteps`` shall lie; None for the CPU.

        Raises:
            ValueError: the scheduler cannot run that number of steps.
        """

    @abstractmethod
    def is_stochastic(self, eta: float) -> bool:
        """Return True if ``step`` uses noise at this ``eta``.

        Raises:
            ValueError: ``eta`` is out of range, or above 0 where the solver has no such parameter.
        """

    @abstractmethod
    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: Generators | None = None,
        variance_noise: Tensor | None = None,
    ) -> SchedulerStep:
        """Go from one timestep to the next.

        Args:
            model_output: prediction of the network, shape of ``sample``.
            timestep: one of ``timesteps``; solvers other than DDIM need them in order, once.
            sample: latent ``x_t`` of any shape.
            eta: 0 for a deterministic step, 1 for the full variance of the reverse process.
            generator: source of the step's noise, or one for each sample of the batch.
            variance_noise: the step's unit noise itself; excludes ``generator``.

        Raises:
            ValueError: a timestep that is not part of the run or not its turn, or arguments that do
                not fit.
        """

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """The latent as the network must see it: here, the sample itself."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: int | Tensor) -> Tensor:
        """Forward process ``sqrt(abar_t) s_t x_0 + sqrt(1 - abar_t) eps``.

        Args:
            original_samples: clean latents ``[B, ...]``.
            noise: unit noise of the same shape.
            timesteps: one timestep, or ``[B]``; each in 0 .. num_train_timesteps - 1.
        """
        schedule = self.schedule
        signal = self._gather(schedule.alphas_cumprod.sqrt().float(), timesteps, original_samples)
        rescale = self._gather(schedule.scale.float(), timesteps, original_samples)
        sigma = self._gather((1 - schedule.alphas_cumprod).sqrt().float(), timesteps, noise)
        return signal * rescale * original_samples + sigma * noise

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: int | Tensor) -> Tensor:
        """Target of v-prediction, ``sqrt(abar') eps - sqrt(1 - abar') x_0``.

        Args:
            sample: clean latents ``[B, ...]``.
            noise: unit noise of the same shape.
            timesteps: one timestep, or ``[B]``.
        """
        alphas_cumprod = self.schedule.alphas_cumprod_vp
        signal = self._gather(alphas_cumprod.sqrt(), timesteps, sample)
        sigma = self._gather((1 - alphas_cumprod).sqrt(), timesteps, sample)
        return signal * noise - sigma * sample

    def predict_original(self, model_output: Tensor, timestep: int, sample: Tensor) -> Tensor:
        """Clean latent that a prediction of the network at one timestep implies."""
        if self.prediction_type == "v_prediction":
            norm = float(self.schedule.norm[timestep])
            alpha_vp = float(self.schedule.alphas_cumprod_vp[timestep])
            return sqrt(alpha_vp) / norm * sample - sqrt(1 - alpha_vp) * model_output
        alpha = float(self.schedule.alphas_cumprod[timestep])
        scale = float(self.schedule.scale[timestep])
        return (sample - sqrt(1 - alpha) * model_output) / (sqrt(alpha) * scale)

    def predict_noise(self, model_output: Tensor, timestep: int, sample: Tensor) -> Tensor:
        """Unit noise that a prediction of the network at one timestep implies."""
        if self.prediction_type == "epsilon":
            return model_output
        norm = float(self.schedule.norm[timestep])
        alpha_vp = float(self.schedule.alphas_cumprod_vp[timestep])
        return sqrt(alpha_vp) * model_output + sqrt(1 - alpha_vp) / norm * sample

    def _gather(self, values: Tensor, timesteps: int | Tensor, like: Tensor) -> Tensor:
        """Pick per-sample values and shape them to be multiplied with ``like``."""
        index = torch.as_tensor(timesteps, device="cpu", dtype=torch.int64)
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(values):
            raise ValueError(f"timesteps: 0 to {len(values) - 1}, got {index.tolist()}")
        if index.ndim > 1 or (index.ndim == 1 and len(index) not in (1, like.shape[0])):
            raise ValueError(
                f"timesteps: one, or one per sample of {like.shape[0]}, got {tuple(index.shape)}"
            )
        picked = values[index].to(device=like.device, dtype=like.dtype)
        return picked.reshape(-1, *[1] * (like.ndim - 1)) if index.ndim else picked

    def _begin(self, timesteps: Sequence[int], device: torch.device | str | None) -> None:
        """Take over the timesteps of a run."""
        self.timesteps = torch.tensor(timesteps, dtype=torch.int64, device=device)
        self._positions = {timestep: position for position, timestep in enumerate(timesteps)}

    def _position(self, timestep: int | Tensor) -> int:
        """Return the place of a timestep in the run, 0 being the noisiest."""
        if not self._positions:
            raise ValueError("timestep: call set_timesteps before step")
        position = self._positions.get(int(timestep))
        if position is None:
            raise ValueError(
                f"timestep: one of {sorted(self._positions, reverse=True)}, got {int(timestep)}"
            )
        return position

    def _check_steps(self, num_inference_steps: int, most: int) -> None:
        if isinstance(num_inference_steps, bool) or not isinstance(num_inference_steps, Integral):
            raise ValueError(f"num_inference_steps: a whole number, got {num_inference_steps!r}")
        if not 1 <= num_inference_steps <= most:
            raise ValueError(f"num_inference_steps: 1 to {most}, got {num_inference_steps}")

    def __len__(self) -> int:
        return self.num_train_timesteps


def check_eta(eta: float) -> None:
    """Refuse an ``eta`` outside 0 .. 1.

    Raises:
        ValueError: naming the argument and the range.
    """
    if not (isinstance(eta, Real) and 0 <= eta <= 1):
        raise ValueError(f"eta: 0 to 1, got {eta!r}")
