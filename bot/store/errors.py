"""What the store raises. Every message is one line that can be shown to whoever runs the bot."""


class StoreError(Exception):
    """The database could not do what was asked; nothing of it was written."""


class UnknownJobError(StoreError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")
        self.job_id = job_id


class UnknownGenerationError(StoreError):
    """No generation has this id."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"there is no generation {generation_id!r}")
        self.generation_id = generation_id


class IllegalTransitionError(StoreError):
    """The job is in a state from which the wanted state cannot be reached."""

    def __init__(self, job_id: str, current: str, wanted: str) -> None:
        super().__init__(f"job {job_id} is {current} and cannot become {wanted}")
        self.job_id = job_id
        self.current = current
        self.wanted = wanted
