"""One file from the model hub: looked up, fetched so that it can go on later, and verified.

Names, revisions, tokens, the endpoint (``HF_ENDPOINT``), offline mode (``HF_HUB_OFFLINE``) and the
cache are those of ``huggingface_hub``. Only the transfer is our own: the client throws away what it
has when its process ends, and so would never finish many gigabytes on a line that breaks. A partial
file lies beside the cache's blobs and counts for nothing there until it is whole and verified.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from filelock import FileLock
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import repo_folder_name

from engine.checkpoints.disk import gigabytes
from engine.checkpoints.errors import (
    ChecksumError,
    HubOfflineError,
    HubUnreachableError,
    InstallError,
)
from engine.checkpoints.hub.download import OnProgress, resume_download, sha256_of, size_of
from engine.checkpoints.hub.http_errors import explain_refusal, is_temporary

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file as the hub, or without the hub the cache, describes it.

    Attributes:
        repo: the repository.
        filename: the file's path in it.
        revision: the branch, tag or commit that was asked for.
        commit: the commit that it means.
        sha256: of the contents, in hex digits; None where only a cache knows the file and does
            not say.
        size: bytes.
        cached: where it lies in the cache, if it does.
    """

    repo: str
    filename: str
    revision: str
    commit: str
    sha256: str | None
    size: int
    cached: Path | None

    def __str__(self) -> str:
        return f"{self.repo}/{self.filename}"


class Hub:
    """A hub and the local cache of it.

    Args:
        endpoint: address of the hub; None: ``HF_ENDPOINT``, else the public one.
        cache_dir: None: where ``HF_HUB_CACHE`` or ``HF_HOME`` say.
        offline: use the cache only; None: as ``HF_HUB_OFFLINE`` says.
        pause_s: seconds before a broken connection is tried again.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        cache_dir: Path | None = None,
        offline: bool | None = None,
        pause_s: float = 1.0,
    ) -> None:
        self._endpoint = endpoint or constants.ENDPOINT
        self._name = _without_password(self._endpoint)
        self.cache_dir = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
        self._offline = constants.is_offline_mode() if offline is None else offline
        self._pause_s = pause_s

    def resolve(self, repo: str, filename: str, revision: str = "main") -> HubFile:
        """Resolve a branch, a tag or a commit to the file it has under this name now.

        A file that is in the cache is found without the hub, too.

        Raises:
            HubOfflineError, HubUnreachableError: and it is not in the cache.
            NotOnHubError: no such repository, revision or file, or no access.
            ChecksumError: the hub states no SHA-256.
        """
        if self._offline:
            if cached := self._from_cache(repo, filename, revision):
                return cached
            raise HubOfflineError(
                f"{repo}/{filename} (revision {revision}) is not in the cache {self.cache_dir}, "
                "and HF_HUB_OFFLINE forbids to download it: unset that to install it."
            )
        try:
            return self._from_hub(repo, filename, revision)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            refusal = self._unreachable(error)
            cause: Exception = error
        except HfHubHTTPError as error:
            if not is_temporary(error):
                raise explain_refusal(error, repo, filename, revision) from error
            refusal, cause = self._unreachable(error), error
        if cached := self._from_cache(repo, filename, revision):
            return cached
        raise refusal from cause

    def missing_bytes(self, file: HubFile) -> int:
        """Return the number of bytes that would have to be downloaded."""
        return 0 if file.cached else max(file.size - size_of(self._partial(file)), 0)

    @contextmanager
    def fetched(
        self, file: HubFile, *, keep: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[Path]:
        """The whole, verified file: from the cache, or downloaded.

        A download that is interrupted goes on with the next call, also of another process; of
        several at once one downloads and the others wait. A download is deleted when the block
        has succeeded, or with ``keep`` becomes part of the cache, where every program finds it.
        When the block fails it is left for the next try.

        Raises:
            HubUnreachableError: the connection broke again and again without any progress.
            NotOnHubError: the hub does not give us the file.
            ChecksumError: it is not the file it should be, and has been removed.
            InstallError: it cannot be written.
        """
        report = on_progress or _ignore
        if file.cached is not None:
            self._verify(file, file.cached, report)
            yield file.cached
            return
        partial = self._partial(file)
        lock = self.cache_dir / ".locks" / self._folder(file.repo).name / f"{partial.name}.lock"
        with _written(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            with _written(partial):
                self._download(file, partial, report)
                self._verify(file, partial, report)
            yield partial
            with _written(partial):
                if keep:
                    self._keep(file, partial)
                else:
                    partial.unlink(missing_ok=True)

    def _from_hub(self, repo: str, filename: str, revision: str) -> HubFile:
        url = hf_hub_url(repo, filename, revision=revision, endpoint=self._endpoint)
        found = get_hf_file_metadata(
            url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=self._endpoint
        )
        if found.commit_hash is None or found.size is None:
            raise HubUnreachableError(
                f"{self._name} does not answer as a model hub does. Check HF_ENDPOINT, proxies "
                "and firewalls."
            )
        if found.etag is None or not _SHA256.fullmatch(found.etag):
            raise ChecksumError(
                f"{self._name} states no SHA-256 for {repo}/{filename}, so that it could not "
                "be verified."
            )
        cached = self._pointer(repo, filename, found.commit_hash)
        if cached is None and self._blob(repo, found.etag).is_file():
            cached = self._blob(repo, found.etag)  # unchanged since another commit
        return HubFile(
            repo=repo,
            filename=filename,
            revision=revision,
            commit=found.commit_hash,
            sha256=found.etag,
            size=found.size,
            cached=cached,
        )

    def _from_cache(self, repo: str, filename: str, revision: str) -> HubFile | None:
        pointer = self._pointer(repo, filename, revision)
        if pointer is None:
            return None
        # snapshots/<commit>/<filename>, which is a link to blobs/<sha256> where links exist.
        commit = pointer.relative_to(self._folder(repo) / "snapshots").parts[0]
        blob = pointer.resolve().name
        return HubFile(
            repo=repo,
            filename=filename,
            revision=revision,
            commit=commit,
            sha256=blob if _SHA256.fullmatch(blob) else None,
            size=pointer.stat().st_size,
            cached=pointer,
        )

    def _download(self, file: HubFile, partial: Path, report: OnProgress) -> None:
        url = hf_hub_url(file.repo, file.filename, revision=file.commit, endpoint=self._endpoint)
        try:
            resume_download(url, partial, file.size, on_progress=report, pause_s=self._pause_s)
        except httpx2.TransportError as error:
            raise self._unreachable(error, size_of(partial), file.size) from error
        except HfHubHTTPError as error:
            if is_temporary(error):
                raise self._unreachable(error, size_of(partial), file.size) from error
            raise explain_refusal(error, file.repo, file.filename, file.commit) from error

    def _verify(self, file: HubFile, path: Path, report: OnProgress) -> None:
        if file.sha256 is None:
            return
        found = sha256_of(path, report)
        if found == file.sha256:
            return
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # where it was a link into the cache's blobs
        raise ChecksumError(
            f"{file} has the SHA-256 {found}, but should have {file.sha256}. It has been removed: "
            "try again."
        )

    def _keep(self, file: HubFile, partial: Path) -> None:
        assert file.sha256 is not None  # the hub's files have one
        blob = self._blob(file.repo, file.sha256)
        pointer = self._folder(file.repo) / "snapshots" / file.commit / file.filename
        partial.replace(blob)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:  # no links here; the cache then has the file itself in this place
            blob.replace(pointer)
        if file.revision != file.commit:
            reference = self._folder(file.repo) / "refs" / file.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(file.commit, encoding="utf-8")

    def _pointer(self, repo: str, filename: str, revision: str) -> Path | None:
        found = try_to_load_from_cache(repo, filename, cache_dir=self.cache_dir, revision=revision)
        return Path(found) if isinstance(found, str) else None

    def _folder(self, repo: str) -> Path:
        return self.cache_dir / repo_folder_name(repo_id=repo, repo_type="model")

    def _blob(self, repo: str, sha256: str) -> Path:
        return self._folder(repo) / "blobs" / sha256

    def _partial(self, file: HubFile) -> Path:
        return self._blob(file.repo, f"{file.sha256}.floor33.incomplete")

    def _unreachable(self, error: Exception, done: int = 0, size: int = 0) -> HubUnreachableError:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(error, httpx2.InvalidURL):
            lines = ["not an address"]  # its text may hold a part of a password
        kept = f" {gigabytes(done)} of {gigabytes(size)} are kept: try again to go on."
        return HubUnreachableError(
            f"{self._name} cannot be reached ({lines[0].rstrip('.')}).{kept if done else ''}"
        )


def _without_password(address: str) -> str:
    """The address without user and password, whatever characters these have, and without a query.

    A mirror's address may hold them; its errors are shown.
    """
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}" if mark else "The hub"


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InstallError(f"{path} cannot be written: {error.strerror or error}.") from error


def _ignore(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
