"""The error of a run that cannot go on."""


class TrainingError(RuntimeError):
    """Training cannot go on; the text says why and what to do."""
