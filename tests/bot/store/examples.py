"""Jobs and clips to put into a store."""

from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from bot.store import GenerationRecord, JobRecord, JobState, NewAsset, NewGeneration, NewJob, Store
from engine.params import STORED, ClipParams, ResolvedParams

New = TypeVar("New", NewJob, NewGeneration)

OWNER = 1001
CHANNEL = 77
_messages = count(900_000)

A_JOB = NewJob(
    user_id=OWNER,
    user_name="Ada",
    guild_id=5,
    channel_id=CHANNEL,
    kind="imagine",
    params=ClipParams(prompt="a red kite", model="demo-t2v", seed=7),
    upload_limit=10 * 2**20,
)
A_PICTURE = NewAsset(
    path="inputs/2026-01/kite.png",
    sha256="ab" * 32,
    mime="image/png",
    width=640,
    height=360,
    bytes=12_345,
)
AN_ANIMATION = replace(
    A_JOB,
    kind="animate",
    params=replace(A_JOB.params, model="demo-i2v"),
    image_asset=A_PICTURE,
)


def changed(new: New, **changes: Any) -> New:
    """The same with other values, of the clip's parameters too."""
    of_params = {name: changes.pop(name) for name in STORED if name in changes}
    return replace(new, params=replace(new.params, **of_params), **changes)


def a_clip(job_id: str) -> NewGeneration:
    return NewGeneration(
        job_id=job_id,
        params=ResolvedParams(
            prompt="a red kite",
            negative_prompt="blurry",
            model="demo-t2v",
            seed=2**63 - 1,
            steps=16,
            fps=8,
            guidance=4.5,
            width=64,
            height=64,
            num_frames=16,
        ),
        expanded_prompt="a red kite over the sea",
        model_revision="0123abcd",
        path="outputs/2026-01/clip.mp4",
        elapsed_s=12.5,
    )


async def rendered(store: Store, job: NewJob = A_JOB) -> tuple[JobRecord, GenerationRecord]:
    """A job with its message and its clip."""
    made = await store.create_job(job)
    await store.set_message(made.id, CHANNEL, next(_messages))
    await store.set_job_state(made.id, JobState.RUNNING)
    clip = await store.add_generation(a_clip(made.id))
    stored = await store.get_job(made.id)
    assert stored is not None
    return stored, clip


def message_of(job: JobRecord) -> int:
    assert job.message_id is not None
    return job.message_id
