"""Words that tell a description of a clip from anything else that a chat model says."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Refusals(NamedTuple):
    """English refusals of models: single words, or phrases in lower case."""

    words: frozenset[str]
    phrases: tuple[str, ...]


REFUSALS: Final = Refusals(
    frozenset(
        "sorry apologize apologise apologies apologizes regret unfortunately cannot can't cant "
        "couldn't won't wouldn't unable decline refuse comply prohibited disallowed inappropriate "
        "violates violate violation policy policies guidelines".split()
    ),
    (
        "i am not able",
        "i'm not able",
        "not able to",
        "language model",
        "as an ai",
        "not allowed",
        "not permitted",
        "not possible",
        "not comfortable",
        "can not",
        "do not have the ability",
        "don't have the ability",
        "against my",
    ),
)

CHATTER: Final = frozenset(
    (
        "i i'm i'll i've i'd me my we we're we've we'll our you you're you'll you'd your yours "
        "let's ok okay sure certainly absolutely alright please thanks thank hello hi hey yes "
        "yeah here's that's what's it's assist assists assistant assistance chatbot ai llm gpt "
        "chatgpt openai anthropic prompt prompts user users user's request requests requested "
        "response responses reply answer answers output input instruction instructions "
        "guideline query task harmful unethical illegal unsafe fulfill clarify clarification "
        "elaborate rephrase expanded enhanced improved rewritten revised rewrite description "
        "descriptions describe describes described describing token tokens json xml yaml "
        "markdown html null undefined nan error errors exception traceback overloaded "
        "unavailable timeout failed failure invalid unauthorized forbidden quota server servers "
        "api endpoint http https upstream retry note disclaimer translation translated "
        "translates translate version versions variation variations variant variants option "
        "options alternative alternatively suggestion suggestions example examples feedback "
        "customize modify provided provide provides specify keyword keywords text-to-video "
        "generate generates generated generating generation refers typically usually generally "
        "commonly popular means assume assuming maybe perhaps however therefore because "
        "analysis thinking reasoning commentary assistantfinal lorem ipsum clip clips keeps "
        "adds added words depicts info need choice subject"
    ).split()
)

OPENINGS: Final = frozenset(
    (
        "what which how could can would should do does did is are was were will why who where "
        "when may might shall create generate imagine picture make write describe use add "
        "include consider try ensure keep show produce depict capture visualize envision "
        "animate render no not none so well"
    ).split()
)

PHRASES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bhere (?:is|are|you go)\b",
        r"\bof course\b",
        r"\blanguage model\b",
        r"\bthe model (?:is|was|has|does|did|will)\b",
        r"\b(?:how|what) about\b",
        r"\bwould like\b",
        r"\bmore (?:details?|information|context)\b",
        r"\b\d+ (?:words?|tokens|characters)\b",
        r"\bword count\b",
        r"\bnegative prompt\b",
        r"\b(?:try|please) again\b",
        r"\brate limit\b",
        r"\btoo many\b",
        r"\bnot found\b",
        r"\btimed out\b",
        r"\bbad gateway\b",
        r"\bquality tags?\b",
        r"\bthis (?:is a|describes|captures|adds|keeps)\b",
    )
)

VISUAL: Final = frozenset(
    (
        "film style low camera shot shots close-up closeup view angle wide tracking static "
        "steady slow slowly fast smooth smoothly handheld hand-held pan panning zoom zooming "
        "dolly drone aerial overhead low-angle motion motions movement movements moving "
        "drifting gliding focus shallow depth field bokeh lens cinematic frame framed light "
        "lights lighting lit sunlight moonlight daylight glow glowing glows bright dim dark "
        "soft warm cool cold golden hazy haze misty mist foggy fog shadow shadows shadowy sun "
        "sunny sunset sunrise dawn dusk evening morning night noon twilight neon backlit "
        "backlight rays beams shimmering sparkling reflections reflection silhouette overcast "
        "stormy mood moody calm serene peaceful quiet dreamy lively dramatic mysterious tense "
        "cozy cosy gentle gently atmosphere atmospheric vivid vibrant colours colors detailed "
        "detail background foreground breeze wind dust rain snow splashing"
    ).split()
)
