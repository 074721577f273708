"""How open_clip 2.22 reads a prompt, written from its published description alone.

It shares nothing with the engine but ftfy, which the original uses too, and the list of merges.
"""

import gzip
import html
import re
from itertools import pairwise
from pathlib import Path

import ftfy
import regex

import engine.checkpoints.original

MERGES = Path(engine.checkpoints.original.__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
COUNT = 49152 - 256 - 2
START, END = 49406, 49407


class OpenClipReading:
    """Ids of a text as the original gives them: start, words, end."""

    def __init__(self) -> None:
        lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")[1 : COUNT + 1]
        merges = [tuple(line.split()) for line in lines]
        self.symbols = byte_symbols()
        words = list(self.symbols.values())
        words += [f"{word}</w>" for word in words]
        words += ["".join(merge) for merge in merges]
        words += ["<start_of_text>", "<end_of_text>"]
        self.ids = {word: index for index, word in enumerate(words)}
        self.ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.pattern = regex.compile(
            r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d"
            r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
            regex.IGNORECASE,
        )

    def __call__(self, prompt: str) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
        text = regex.sub(r"\s+", " ", text).strip().lower()
        ids = [START]
        for piece in self.pattern.findall(text):
            if re.fullmatch("<(start|end)_of_text>", piece):
                ids.append(self.ids[piece])
                continue
            ids += [self.ids[part] for part in self._pairs(piece)]
        return [*ids, END]

    def _pairs(self, piece: str) -> list[str]:
        parts = [self.symbols[byte] for byte in piece.encode()]
        parts[-1] += "</w>"
        while known := {pair for pair in pairwise(parts) if pair in self.ranks}:
            first, second = min(known, key=self.ranks.__getitem__)
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == (first, second):
                    merged[-1] = first + second
                else:
                    merged.append(part)
            parts = merged
        return parts


def byte_symbols() -> dict[int, str]:
    """A printable character for each byte."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printing += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {
        byte: chr(256 + index) for index, byte in enumerate(others)
    }
