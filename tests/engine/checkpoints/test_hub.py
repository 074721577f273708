"""Files from the hub: whole and verified, however often the connection breaks."""

import hashlib
import random
import socket
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from engine.checkpoints.errors import (
    ChecksumError,
    HubOfflineError,
    HubUnreachableError,
    InstallError,
    NotOnHubError,
)
from engine.checkpoints.hub.client import Hub, HubFile
from tests.engine.checkpoints.loopback_hub import COMMIT, OLD_COMMIT, LoopbackHub, Transfer

REPO, NAME = "floor33/example", "model.ckpt"
CONTENT = random.Random(33).randbytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _a_file(loopback: LoopbackHub) -> None:
    loopback.put(REPO, NAME, CONTENT)


def content_of(hub: Hub, file: HubFile | None = None, *, keep: bool = False) -> bytes:
    with hub.fetched(file or hub.resolve(REPO, NAME), keep=keep) as path:
        return path.read_bytes()


def files_in(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


def test_a_branch_is_resolved_to_a_commit(hub: Hub) -> None:
    file = hub.resolve(REPO, NAME)
    assert (file.commit, file.sha256, file.size, file.cached) == (
        COMMIT,
        SHA256,
        len(CONTENT),
        None,
    )
    assert hub.missing_bytes(file) == len(CONTENT)


def test_a_download_is_reported_and_then_deleted(hub: Hub, loopback: LoopbackHub) -> None:
    reported: list[tuple[str, int, int]] = []
    file = hub.resolve(REPO, NAME)
    with hub.fetched(file, on_progress=lambda *step: reported.append(step)) as path:
        assert path.read_bytes() == CONTENT
    assert {total for _, _, total in reported} == {len(CONTENT)}
    assert list(dict.fromkeys(stage for stage, _, _ in reported)) == ["download", "verify"]
    done = [done for stage, done, _ in reported if stage == "download"]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)
    assert files_in(hub.cache_dir) == []
    # Always from the commit, so that a branch that moves meanwhile cannot mix two files.
    assert loopback.resolved == [("HEAD", "main"), ("GET", COMMIT)]


def test_a_pinned_revision_is_what_is_asked_for(hub: Hub, loopback: LoopbackHub) -> None:
    old = loopback.put(REPO, NAME, b"older" * 1000, commit=OLD_COMMIT)
    file = hub.resolve(REPO, NAME, OLD_COMMIT)
    assert (file.commit, file.sha256) == (OLD_COMMIT, old)
    assert content_of(hub, file) == b"older" * 1000
    assert {revision for _, revision in loopback.resolved} == {OLD_COMMIT}


def test_a_cut_connection_goes_on_where_it_was_cut(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.cuts = [300_000, 200_000]
    assert content_of(hub) == CONTENT
    assert loopback.transfers == [
        Transfer(0, 300_000),
        Transfer(300_000, 200_000),
        Transfer(500_000, len(CONTENT) - 500_000),
    ]


def test_what_a_hopeless_connection_brought_is_kept(
    hub: Hub, loopback: LoopbackHub, tmp_path: Path
) -> None:
    loopback.cuts = [400_000] + [0] * 5
    with pytest.raises(HubUnreachableError, match=r"0\.4 MB of 1\.0 MB are kept: try again"):
        content_of(hub)
    assert len(loopback.transfers) == 6
    loopback.transfers.clear()
    again = Hub(endpoint=loopback.address, cache_dir=tmp_path / "cache", offline=False)
    file = again.resolve(REPO, NAME)
    assert again.missing_bytes(file) == len(CONTENT) - 400_000
    assert content_of(again, file) == CONTENT
    assert loopback.transfers == [Transfer(400_000, len(CONTENT) - 400_000)]


def test_a_server_without_ranges_is_asked_for_everything_again(
    hub: Hub, loopback: LoopbackHub
) -> None:
    loopback.ranges = False
    loopback.cuts = [300_000]
    assert content_of(hub) == CONTENT
    assert loopback.transfers == [Transfer(0, 300_000), Transfer(300_000, len(CONTENT))]


def test_a_partial_file_that_is_too_long_is_begun_anew(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.cuts = [10] + [0] * 5
    with pytest.raises(HubUnreachableError):
        content_of(hub)
    (partial,) = hub.cache_dir.rglob("*.incomplete")
    partial.write_bytes(CONTENT + b"more")
    assert content_of(hub) == CONTENT


def test_a_wrong_checksum_is_refused_and_the_next_try_works(
    hub: Hub, loopback: LoopbackHub
) -> None:
    loopback.spoiled = True
    with pytest.raises(
        ChecksumError, match=f"{REPO}/{NAME} has the SHA-256 .* should have {SHA256}"
    ):
        content_of(hub)
    assert files_in(hub.cache_dir) == []
    loopback.spoiled = False
    assert content_of(hub) == CONTENT


def test_a_kept_download_is_in_the_cache_for_everyone(hub: Hub, loopback: LoopbackHub) -> None:
    assert content_of(hub, keep=True) == CONTENT
    assert files_in(hub.cache_dir) == sorted([SHA256, NAME, "main"])
    transfers = len(loopback.transfers)
    assert hub.resolve(REPO, NAME).cached is not None
    assert content_of(hub) == CONTENT
    # What was there before stays there.
    assert files_in(hub.cache_dir) == sorted([SHA256, NAME, "main"])
    for revision in ("main", COMMIT):
        theirs = hf_hub_download(
            REPO, NAME, revision=revision, cache_dir=hub.cache_dir, local_files_only=True
        )
        assert Path(theirs).read_bytes() == CONTENT
    assert len(loopback.transfers) == transfers


def test_the_cache_of_others_is_used(hub: Hub, loopback: LoopbackHub) -> None:
    hf_hub_download(REPO, NAME, cache_dir=hub.cache_dir, endpoint=loopback.address)
    loopback.transfers.clear()
    assert content_of(hub) == CONTENT
    # Another commit with the same file needs no download either.
    loopback.put(REPO, NAME, CONTENT, commit=OLD_COMMIT)
    assert content_of(hub, hub.resolve(REPO, NAME, OLD_COMMIT)) == CONTENT
    assert loopback.transfers == []


def test_a_spoiled_cache_is_found_out_and_the_next_try_works(
    hub: Hub, loopback: LoopbackHub
) -> None:
    content_of(hub, keep=True)
    (blob,) = hub.cache_dir.rglob(SHA256)
    blob.write_bytes(b"spoiled")
    with pytest.raises(ChecksumError, match="It has been removed: try again"):
        content_of(hub)
    assert content_of(hub) == CONTENT


def test_offline_the_cache_is_enough(hub: Hub, loopback: LoopbackHub) -> None:
    content_of(hub, keep=True)
    asked = len(loopback.resolved)
    offline = Hub(endpoint=loopback.address, cache_dir=hub.cache_dir, offline=True)
    for revision in ("main", COMMIT):
        file = offline.resolve(REPO, NAME, revision)
        assert (file.commit, file.sha256) == (COMMIT, SHA256)
        assert content_of(offline, file) == CONTENT
    assert len(loopback.resolved) == asked
    with pytest.raises(HubOfflineError, match=f"revision {OLD_COMMIT}"):
        offline.resolve(REPO, NAME, OLD_COMMIT)


def test_offline_without_the_file_says_what_is_missing(
    loopback: LoopbackHub, tmp_path: Path
) -> None:
    offline = Hub(endpoint=loopback.address, cache_dir=tmp_path / "none", offline=True)
    with pytest.raises(HubOfflineError) as refused:
        offline.resolve(REPO, NAME)
    for word in (REPO, NAME, "main", str(tmp_path / "none"), "HF_HUB_OFFLINE"):
        assert word in str(refused.value)
    assert loopback.resolved == []


def test_a_hub_that_is_away_is_no_matter_if_the_cache_has_it(hub: Hub, tmp_path: Path) -> None:
    content_of(hub, keep=True)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        away = Hub(endpoint=endpoint, cache_dir=hub.cache_dir, offline=False)
        assert content_of(away) == CONTENT
        empty = Hub(endpoint=endpoint, cache_dir=tmp_path / "none", offline=False)
        with pytest.raises(HubUnreachableError, match=f"{endpoint} cannot be reached"):
            empty.resolve(REPO, NAME)


@pytest.mark.parametrize("endpoint", ["nonsense", "http://[", "https://"])
def test_an_endpoint_that_is_no_address(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(HubUnreachableError, match="cannot be reached"):
        Hub(endpoint=endpoint, cache_dir=tmp_path, offline=False).resolve(REPO, NAME)


@pytest.mark.parametrize(
    ("repo", "name", "revision", "text"),
    [
        ("floor33/other", NAME, "main", "no repository floor33/other"),
        (REPO, "other.ckpt", "main", "no file other.ckpt at revision 'main'"),
        (REPO, NAME, "v9", "no revision 'v9'"),
        (REPO, NAME, OLD_COMMIT, f"no revision '{OLD_COMMIT}'"),
    ],
)
def test_what_the_hub_does_not_have(
    hub: Hub, repo: str, name: str, revision: str, text: str
) -> None:
    with pytest.raises(NotOnHubError, match=text):
        hub.resolve(repo, name, revision)


def test_a_gated_repository(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.gated = True
    with pytest.raises(NotOnHubError, match=f"{REPO} is gated: .* HF_TOKEN"):
        hub.resolve(REPO, NAME)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (503, HubUnreachableError, "cannot be reached .*503"),
        (403, NotOnHubError, "HTTP 403.*HF_TOKEN"),
        (400, InstallError, "error HTTP 400"),
    ],
)
def test_other_answers(
    hub: Hub, loopback: LoopbackHub, status: int, kind: type[Exception], text: str
) -> None:
    file = hub.resolve(REPO, NAME)
    loopback.failure = status
    with pytest.raises(kind, match=text):
        hub.resolve(REPO, NAME)
    with pytest.raises(kind, match=text):
        content_of(hub, file)
    loopback.failure = 0
    assert content_of(hub, file) == CONTENT


def test_a_file_without_a_checksum_is_not_trusted(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.checksums = False
    with pytest.raises(ChecksumError, match="states no SHA-256"):
        hub.resolve(REPO, NAME)


def test_a_cache_that_cannot_be_written(loopback: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hub = Hub(endpoint=loopback.address, cache_dir=tmp_path / "file", offline=False)
    with pytest.raises(InstallError, match="cannot be written"):
        content_of(hub)


def test_when_the_block_fails_the_download_is_left_for_the_next_try(
    hub: Hub, loopback: LoopbackHub
) -> None:
    file = hub.resolve(REPO, NAME)
    with pytest.raises(RuntimeError), hub.fetched(file):
        raise RuntimeError
    assert hub.missing_bytes(file) == 0
    assert content_of(hub, file) == CONTENT
    assert len(loopback.transfers) == 1
