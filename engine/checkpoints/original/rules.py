"""Rules from released tensors to ours, and the check that a file holds exactly those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from engine.checkpoints.errors import OriginalCheckpointError, listed

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One tensor of a released file.

    Attributes:
        key: its released name.
        shape: its released shape.
        targets: our names for it. Several: it is cut into equal parts along its first axis. None:
            it must be there, and is of no use here.
    """

    key: str
    shape: Shape
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Component:
    """One network of a pipeline.

    Attributes:
        module: on the meta device; says the names and shapes of our tensors.
        rules: where they come from; together they name each of our tensors once.
    """

    module: nn.Module
    rules: tuple[Rule, ...]

    def tensors(self, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors as views of the released ones, which must fit (`check_tensors`)."""
        own = self.module.state_dict()
        found = {}
        for rule in self.rules:
            if rule.targets:
                parts = released[rule.key].chunk(len(rule.targets))
                for name, part in zip(rule.targets, parts, strict=True):
                    # 1x1 convolutions stand for linear layers: other shape, same numbers.
                    found[name] = part.reshape(own[name].shape)
        return found


def check_tensors(file: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
    """Refuse a file that does not hold exactly the tensors of these names and shapes.

    Raises:
        OriginalCheckpointError: names what is missing, left over, or of another shape or kind.
    """
    common = [name for name in shapes if name in tensors]
    faults = {
        "missing": [name for name in shapes if name not in tensors],
        "left over": [name for name in tensors if name not in shapes],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(shapes[name])}"
            for name in common
            if tuple(tensors[name].shape) != shapes[name]
        ],
        "no floating-point numbers": [
            name for name in common if not tensors[name].is_floating_point()
        ],
    }
    told = [f"{len(names)} {fault}: {listed(names)}" for fault, names in faults.items() if names]
    if told:
        raise OriginalCheckpointError(
            f"The tensors of {file} do not fit the configuration; {'; '.join(told)}."
        )


def shapes_of(rules: Iterable[Rule]) -> dict[str, Shape]:
    """Released name to released shape."""
    return {rule.key: rule.shape for rule in rules}
