"""Published models by name: from a hub on this machine to a folder that the catalogue serves."""

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.checkpoints import (
    Catalog,
    InstallError,
    OriginalCheckpointError,
    PublishedModel,
    check_space,
    install_model,
    is_installed,
    load_original,
    load_pipeline,
)
from engine.checkpoints.errors import ChecksumError, DiskSpaceError, HubUnreachableError
from engine.checkpoints.hub.client import Hub
from tests.engine.checkpoints.conftest import TINY_REPO
from tests.engine.checkpoints.loopback_hub import COMMIT, OLD_COMMIT, LoopbackHub
from tests.engine.checkpoints.original.recorded import Recorded


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_an_installed_model_is_the_published_one(
    tiny: PublishedModel, hub: Hub, models_dir: Path, t2v: Recorded, checkpoint: bytes
) -> None:
    stages: dict[str, tuple[int, int]] = {}

    def on_progress(stage: str, done: int, total: int) -> None:
        stages[stage] = (done, total)

    folder = install_model(tiny, models_dir, hub=hub, on_progress=on_progress)
    assert folder == models_dir / "tiny"
    assert names_in(models_dir) == ["tiny"]
    assert list(stages)[:2] == ["download", "verify"]
    assert {stage.partition(" ")[0] for stage in list(stages)[2:]} == {"convert"}
    assert stages["download"] == stages["verify"] == (len(checkpoint), len(checkpoint))

    card = Catalog(models_dir=models_dir, published={"tiny": tiny}).get("tiny")
    assert card.ready, card.problem
    assert (card.title, card.default_fps, card.default_guidance) == ("Tiny", 12, 12.0)
    assert "non-commercial" in card.licence
    assert card.origin is not None
    assert card.origin.model_dump() == {
        "hub_repo": TINY_REPO,
        "file": "model.ckpt",
        "revision": COMMIT,
        "sha256": hashlib.sha256(checkpoint).hexdigest(),
    }
    served, direct = load_pipeline(card), load_original(t2v.checkpoint, t2v.config)
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(served, part).state_dict(), getattr(direct, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    # The download is not kept beside what it became.
    assert not any(path.is_file() for path in (hub.cache_dir / "models--floor33--tiny").rglob("*"))


def test_what_is_installed_is_left_alone(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    assert not is_installed("tiny", models_dir)
    folder = install_model(tiny, models_dir, hub=hub)
    assert is_installed("tiny", models_dir)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    asked = len(loopback.resolved)
    assert install_model(tiny, models_dir, hub=hub) == folder
    assert install_model(tiny, models_dir, hub=hub, revision=COMMIT) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert len(loopback.resolved) == asked


@pytest.mark.parametrize(
    ("pins", "text"),
    [
        ({"revision": OLD_COMMIT}, f"from the commit {COMMIT}; .* the commit {OLD_COMMIT}"),
        ({"sha256": "0" * 64}, f"from the commit {COMMIT}; .* the SHA-256 0000"),
    ],
)
def test_an_installed_model_is_not_passed_off_as_another(
    tiny: PublishedModel, hub: Hub, models_dir: Path, pins: dict[str, str], text: str
) -> None:
    install_model(tiny, models_dir, hub=hub)
    with pytest.raises(InstallError, match=text):
        install_model(tiny, models_dir, hub=hub, **pins)  # type: ignore[arg-type]


def test_a_revision_can_be_pinned(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub, checkpoint: bytes
) -> None:
    loopback.put(TINY_REPO, "model.ckpt", checkpoint, commit=OLD_COMMIT)
    loopback.put(TINY_REPO, "model.ckpt", b"something newer")
    sha256 = hashlib.sha256(checkpoint).hexdigest()
    with pytest.raises(ChecksumError, match=f"{sha256} is wanted"):
        install_model(tiny, models_dir, hub=hub, sha256=sha256)
    assert loopback.transfers == []
    folder = install_model(tiny, models_dir, hub=hub, revision=OLD_COMMIT, sha256=sha256)
    facts = json.loads((folder / "floor33.json").read_text())
    assert facts["origin"]["revision"] == OLD_COMMIT


def test_a_table_entry_can_be_pinned(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub, checkpoint: bytes
) -> None:
    loopback.put(TINY_REPO, "model.ckpt", checkpoint, commit=OLD_COMMIT)
    install_model(replace(tiny, revision=OLD_COMMIT), models_dir, hub=hub)
    assert {revision for _, revision in loopback.resolved} == {OLD_COMMIT}


def test_an_interrupted_installation_goes_on(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub, checkpoint: bytes
) -> None:
    half = len(checkpoint) // 2

    def interrupt(stage: str, done: int, total: int) -> None:
        if done >= half:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install_model(tiny, models_dir, hub=hub, on_progress=interrupt)
    assert names_in(models_dir) == []
    install_model(tiny, models_dir, hub=hub)
    first, second = loopback.transfers
    assert first.start == 0
    assert second.start >= half
    assert second.sent == len(checkpoint) - second.start


def test_a_broken_connection_and_a_wrong_checksum_leave_nothing_half_done(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    loopback.cuts = [1000] + [0] * 5
    with pytest.raises(HubUnreachableError):
        install_model(tiny, models_dir, hub=hub)
    loopback.spoiled = True
    with pytest.raises(ChecksumError):
        install_model(tiny, models_dir, hub=hub)
    assert names_in(models_dir) == []
    loopback.spoiled = False
    assert is_installed("tiny", install_model(tiny, models_dir, hub=hub).parent)


def test_two_at_once_download_once(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    loopback.hold = threading.Event()
    waits = threading.Event()
    folders: list[Path] = []

    def run() -> None:
        folders.append(install_model(tiny, models_dir, hub=hub, on_wait=waits.set))

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    assert loopback.half_sent.wait(30)
    threads[1].start()
    assert waits.wait(30)
    loopback.hold.set()
    for thread in threads:
        thread.join(60)
    assert folders == [models_dir / "tiny"] * 2
    assert len(loopback.transfers) == 1


def test_two_places_at_once_share_one_download(
    tiny: PublishedModel, hub: Hub, tmp_path: Path, loopback: LoopbackHub
) -> None:
    """Both use the cache of the same user; neither may take the file from under the other."""
    loopback.hold = threading.Event()
    done: list[Path] = []

    def run(place: str) -> None:
        done.append(install_model(tiny, tmp_path / place, hub=hub))

    threads = [threading.Thread(target=run, args=(place,)) for place in ("a", "b")]
    for thread in threads:
        thread.start()
    assert loopback.half_sent.wait(30)
    loopback.hold.set()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [tmp_path / "a" / "tiny", tmp_path / "b" / "tiny"]


def test_a_kept_download_installs_offline(
    tiny: PublishedModel, hub: Hub, models_dir: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    install_model(tiny, models_dir, hub=hub, keep_download=True)
    asked = len(loopback.resolved)
    offline = Hub(endpoint=loopback.address, cache_dir=hub.cache_dir, offline=True)
    folder = install_model(tiny, tmp_path / "elsewhere", hub=offline)
    assert Catalog({"tiny": folder}).get("tiny").ready
    facts = [
        json.loads((place / "tiny" / "floor33.json").read_text())
        for place in (models_dir, folder.parent)
    ]
    assert facts[0] == facts[1]
    assert len(loopback.resolved) == asked


def test_too_little_disk_space_is_said_before_anything_is_fetched(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    loopback.stated_size = 10**18
    with pytest.raises(DiskSpaceError, match=r"^[\d.]+ GB are needed in .* but only [\d.]+ GB"):
        install_model(tiny, models_dir, hub=hub)
    assert loopback.transfers == []


def test_folders_on_one_disk_share_its_space(tmp_path: Path) -> None:
    import shutil

    free = shutil.disk_usage(tmp_path).free
    most = free * 2 // 3
    check_space({tmp_path / "not" / "yet": most})
    with pytest.raises(DiskSpaceError, match=r"a and .*b, but only"):
        check_space({tmp_path / "a": most, tmp_path / "b": most})


def test_what_a_killed_conversion_left_is_removed(
    tiny: PublishedModel, hub: Hub, models_dir: Path
) -> None:
    leftover = models_dir / ".tiny.0badc0de.partial"
    (leftover / "unet").mkdir(parents=True)
    other = models_dir / ".other.0badc0de.partial"
    other.mkdir()
    install_model(tiny, models_dir, hub=hub)
    assert names_in(models_dir) == [other.name, "tiny"]


def test_a_folder_with_something_else_is_not_touched(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    mine = models_dir / "tiny" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InstallError, match="is not a whole model: move it away"):
        install_model(tiny, models_dir, hub=hub)
    assert mine.read_text() == "mine"
    assert loopback.resolved == []


@pytest.mark.parametrize("damage", ["weights", "facts"])
def test_a_damaged_model_is_not_called_installed(
    tiny: PublishedModel, hub: Hub, models_dir: Path, damage: str
) -> None:
    folder = install_model(tiny, models_dir, hub=hub)
    name = "unet/diffusion_pytorch_model.safetensors" if damage == "weights" else "floor33.json"
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])
    with pytest.raises(InstallError, match=r"tiny is damaged: move it away, then install again\."):
        install_model(tiny, models_dir, hub=hub)
    folder.rename(models_dir / "away")
    install_model(tiny, models_dir, hub=hub)


def test_a_models_folder_that_is_a_file(tiny: PublishedModel, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match="cannot be written"):
        install_model(tiny, tmp_path / "file", hub=hub)


def test_a_file_that_is_no_such_checkpoint_is_refused(
    tiny: PublishedModel, hub: Hub, models_dir: Path, loopback: LoopbackHub
) -> None:
    loopback.put(TINY_REPO, "model.ckpt", b"no checkpoint at all")
    with pytest.raises(OriginalCheckpointError, match="is damaged or no checkpoint"):
        install_model(tiny, models_dir, hub=hub)
    assert names_in(models_dir) == []
