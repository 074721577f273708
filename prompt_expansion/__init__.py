"""A short prompt in, a fuller one out; the user's own words whenever that fails."""

from prompt_expansion.factory import make_expander
from prompt_expansion.interface import Expansion, PromptExpander
from prompt_expansion.settings import BACKENDS, Backend, ExpansionSettings, ExpansionSettingsError

__all__ = [
    "BACKENDS",
    "Backend",
    "Expansion",
    "ExpansionSettings",
    "ExpansionSettingsError",
    "PromptExpander",
    "make_expander",
]
