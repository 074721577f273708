"""The manifest of precomputed latents: which models and which preprocessing made them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from common.atomic_write import atomic_write
from common.validation import first_fault
from training.data.errors import DataError

MANIFEST = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelDigest(_Record):
    """A model by name, for people, and by digest, which decides."""

    name: str
    digest: str


class TextDigest(ModelDigest):
    """A text tower and the layer whose features were taken."""

    layer: Literal["last", "penultimate"]


class FileRecord(_Record):
    """A file of the folder and its SHA-256."""

    file: str
    sha256: str


class ShardRecord(FileRecord):
    """Latents of the source's samples from ``first`` up to ``end``, ``samples`` in number."""

    first: int
    end: int
    samples: int
    skipped: dict[str, int] = {}


class SourceIdentity(_Record):
    """The data set that was read."""

    path: str
    kind: str
    samples: int


class Manifest(_Record):
    """Everything needed to decide whether latents fit a recipe.

    ``empty_caption`` is the file with the text features of "", for dropping captions.
    """

    version: Literal[1] = 1
    vae: ModelDigest
    text: TextDigest | None
    preprocessing: dict[str, Any]
    source: SourceIdentity
    empty_caption: FileRecord | None = None
    shards: tuple[ShardRecord, ...] = ()
    complete: bool = False


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.

    Raises:
        DataError: there is none, or it cannot be understood.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{folder} holds no precomputed latents: {MANIFEST} is missing") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(f"{path} is damaged or of another version: {fault}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest at once.

    Raises:
        OSError: it cannot be written.
    """
    atomic_write(folder / MANIFEST, manifest.model_dump_json(indent=1))


def refuse_other(
    folder: Path,
    manifest: Manifest,
    *,
    vae: str | None = None,
    text: str | None = None,
    layer: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Refuse latents that were made otherwise; what is None is not compared.

    Args:
        folder: named in the error.
        manifest: of the latents.
        vae: digest that the autoencoder must have.
        text: digest that the text tower must have.
        layer: text layer that must have been taken.
        preprocessing: sizes, windows and seed that must have been used.

    Raises:
        DataError: something differs; the text says what.
    """
    if vae is not None and manifest.vae.digest != vae:
        raise _other(folder, f"autoencoder {_short(manifest.vae)}", f"this one has {vae[:12]}")
    if text is not None:
        if manifest.text is None:
            raise _other(folder, "no text tower", "text features are needed")
        if manifest.text.digest != text:
            raise _other(folder, f"text tower {_short(manifest.text)}", f"this one has {text[:12]}")
    if layer is not None and manifest.text is not None and manifest.text.layer != layer:
        raise _other(folder, f"the {manifest.text.layer} text layer", f"{layer} is needed")
    for key, value in (preprocessing or {}).items():
        made = manifest.preprocessing.get(key)
        if made != value:
            raise _other(folder, f"{key} = {made!r}", f"{value!r} is needed")


def _short(model: ModelDigest) -> str:
    return f"{model.name} (digest {model.digest[:12]})"


def _other(folder: Path, made: str, needed: str) -> DataError:
    return DataError(
        f"{folder} was precomputed with {made}, but {needed}; precompute into another folder"
    )
