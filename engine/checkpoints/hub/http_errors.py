"""Explain the hub's refusals to whoever wants to install a model."""

from __future__ import annotations

from typing import Final

from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from engine.checkpoints.errors import InstallError, NotOnHubError

_TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})


def is_temporary(error: HfHubHTTPError) -> bool:
    """Return True if the same request may succeed later."""
    return error.response.status_code in _TEMPORARY


def explain_refusal(error: HfHubHTTPError, repo: str, filename: str, revision: str) -> InstallError:
    """The refusal in one sentence with what to do about it."""
    match error:
        case GatedRepoError():  # a RepositoryNotFoundError, too
            return NotOnHubError(
                f"{repo} is gated: accept its terms on its page of the hub, and set HF_TOKEN to "
                "your access token."
            )
        case RepositoryNotFoundError():
            return NotOnHubError(
                f"The hub has no repository {repo}, or does not show it without an access token "
                "(HF_TOKEN)."
            )
        case DisabledRepoError():
            return NotOnHubError(f"The hub has disabled the repository {repo}.")
        case RevisionNotFoundError():
            return NotOnHubError(f"{repo} has no revision {revision!r} on the hub.")
        case RemoteEntryNotFoundError():
            return NotOnHubError(f"{repo} has no file {filename} at revision {revision!r}.")
    code = error.response.status_code
    if code in (401, 403):
        return NotOnHubError(
            f"The hub refuses {repo}/{filename} (HTTP {code}): check the access token in HF_TOKEN."
        )
    return InstallError(f"The hub answers {repo}/{filename} with the error HTTP {code}.")
