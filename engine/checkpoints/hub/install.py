"""A published model becomes a model folder: fetched from the hub, verified, converted."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from engine.checkpoints.disk import check_space
from engine.checkpoints.errors import ChecksumError, InstallError, ModelLoadError
from engine.checkpoints.folder.metadata import METADATA_FILE, Origin, read_metadata
from engine.checkpoints.folder.weights import count_parameters

if TYPE_CHECKING:  # both take a while to import, which who has the model already can do without
    from engine.checkpoints.hub.client import Hub, HubFile
    from engine.checkpoints.hub.published import PublishedModel

OnProgress = Callable[[str, int, int], None]
"""Called with what is done ("download", "verify", "convert unet", …), the bytes done, and the bytes
that will be in all."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def is_installed(name: str, models_dir: Path) -> bool:
    """Return True if the model's folder is there; it appears whole, so nothing more is read."""
    return (models_dir / name / METADATA_FILE).is_file()


def _check_endpoint() -> None:
    """Refuse an ``HF_ENDPOINT`` that nobody can read: the client's own error quotes a part of it.

    Raises InstallError.
    """
    try:
        _ = urlsplit(os.environ.get("HF_ENDPOINT", "").strip()).port
    except ValueError:
        raise InstallError(
            "HF_ENDPOINT is not an address; in a user's name or password characters such as "
            "/ : @ [ ? # are written as %2F and so on."
        ) from None


def install_model(
    model: PublishedModel,
    models_dir: Path,
    *,
    revision: str | None = None,
    sha256: str | None = None,
    keep_download: bool = False,
    hub: Hub | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Path:
    """Make the folder ``<models_dir>/<name>``, complete or not at all.

    A model that is installed is left as it is. Of several processes at once one works and the
    others wait for it. An interrupted installation goes on where the download stopped.

    Args:
        model: an entry of ``published.PUBLISHED``.
        models_dir: the folder of installed models; made when missing.
        revision: a branch, tag or commit of the hub in place of the model's.
        sha256: what the file must have, in hex digits, in place of the model's.
        keep_download: leave the downloaded file in the hub's cache.
        hub: None: as the environment says.
        on_progress: is told what happens.
        on_wait: is told that another process is at it.

    Returns:
        The folder.

    Raises:
        InstallError: its subclasses say whether the hub, the file, the disk or the folder is at
            fault.
        OriginalCheckpointError: the file is not what the model's architecture needs.
    """
    _check_endpoint()
    folder = Path(os.path.abspath(models_dir)) / model.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{model.name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        raise InstallError(f"{folder} cannot be written: {error.strerror or error}.") from error
    try:
        if is_installed(model.name, folder.parent):
            _check_installed(folder, revision, sha256)
        else:
            _sweep(folder)
            _install(
                model,
                folder,
                revision=revision or model.revision,
                sha256=sha256 or model.sha256,
                keep_download=keep_download,
                hub=hub,
                report=on_progress or _ignore,
            )
    finally:
        lock.release()
    return folder


def _install(
    model: PublishedModel,
    folder: Path,
    *,
    revision: str,
    sha256: str | None,
    keep_download: bool,
    hub: Hub | None,
    report: OnProgress,
) -> None:
    from engine.checkpoints.hub.client import Hub
    from engine.checkpoints.hub.download import sha256_of

    if folder.exists() and any(folder.iterdir()):
        raise InstallError(
            f"{folder} exists, but is not a whole model: move it away, then install again."
        )
    hub = hub or Hub()
    file = _pinned(hub.resolve(model.hub_repo, model.filename, revision), sha256)
    # A converted model has about the bytes of its checkpoint.
    check_space({hub.cache_dir: hub.missing_bytes(file), folder.parent: file.size})

    def on_shard(component: str, done: int, total: int) -> None:
        report(f"convert {component}", done, total)

    with hub.fetched(file, keep=keep_download, on_progress=report) as checkpoint:
        # Imports torch and diffusers, for which nobody shall wait who is refused anyway.
        from engine.checkpoints.original.convert import convert_original

        origin = Origin(
            hub_repo=file.repo,
            file=file.filename,
            revision=file.commit,
            sha256=file.sha256 or sha256_of(checkpoint, report),
        )
        convert_original(checkpoint, model.preset, folder, on_progress=on_shard, origin=origin)


def _pinned(file: HubFile, sha256: str | None) -> HubFile:
    """The file with the SHA-256 that is wanted; refuses one that the hub says is another."""
    if sha256 is None or sha256 == file.sha256:
        return file
    if file.sha256 is None:
        return replace(file, sha256=sha256)
    raise ChecksumError(
        f"{file} has the SHA-256 {file.sha256} at {file.commit}, but {sha256} is wanted."
    )


def _check_installed(folder: Path, revision: str | None, sha256: str | None) -> None:
    """Refuse to pass off an installed model as another revision of it, or a damaged one as whole.

    Which commit a branch or tag means now only the hub knows; such a name is satisfied by what is
    there.
    """
    try:
        origin = read_metadata(folder).origin
        count_parameters(folder)  # opens every file of weights
    except ModelLoadError as error:
        raise InstallError(
            f"{folder} is damaged: move it away, then install again. ({error})"
        ) from error
    here = "an unknown origin" if origin is None else f"the commit {origin.revision}"
    wanted = None
    if revision and _COMMIT.fullmatch(revision) and (not origin or origin.revision != revision):
        wanted = f"the commit {revision}"
    elif sha256 and (not origin or origin.sha256 != sha256):
        wanted = f"the SHA-256 {sha256}"
    if wanted:
        raise InstallError(f"{folder} is installed from {here}; move it away to install {wanted}.")


def _sweep(folder: Path) -> None:
    """Remove what an earlier conversion left that was killed; nobody else works on it now."""
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def _ignore(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
