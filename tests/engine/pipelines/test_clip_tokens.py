"""Prompts are read as the models were trained to read them, whatever keyboard they come from.

Reported elsewhere: transformers#19118, #22166, #26887 (ftfy); open_clip#453 (special tokens).
"""

import random
import unicodedata

import pytest
from transformers import CLIPTokenizer

from engine.checkpoints.original.tokenizer import clip_tokenizer
from engine.pipelines import tokenise
from engine.pipelines.clip_tokens import clean_prompt, token_ids
from engine.pipelines.text import unread_end
from tests.engine.pipelines.open_clip_reading import END, START, OpenClipReading


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return clip_tokenizer()


@pytest.fixture(scope="module")
def original() -> OpenClipReading:
    return OpenClipReading()


def read(tokenizer: CLIPTokenizer, prompt: str) -> list[int]:
    return token_ids(tokenizer, clean_prompt(prompt))


MEANT = {
    "a cat\u2019s eye": "a cat's eye",
    "a cat\u02bcs eye": "a cat's eye",
    "a sign that says \u201chello world\u201d": 'a sign that says "hello world"',
    "the \u2018old\u2019 town": "the 'old' town",
    "\u201aold\u2018 and \u201eold\u201c": "'old' and \"old\"",
    "\uff21 \uff52\uff45\uff44 car\uff01": "a red car!",
    "a red\u3000car": "a red car",
    "\uff76\uff9e\uff97\uff7d": "\u30ac\u30e9\u30b9",
    "\ufb02owers in a \ufb01eld, di\ufb00erent": "flowers in a field, different",
    "\u01c6 \ufb05 \ufb06": "d\u017e \u017ft st",
    "\ufeffa cat": "a cat",
    "a\ufeff cat": "a cat",
    "a\x00b\x07c\x7fd": "abcd",
    "a\x0bb\x1cc": "abc",
    "a \x1b[31mred\x1b[0m car": "a red car",
    "a\tcat\r\non\u2028a\u2029mat\x0c": "a cat on a mat",
    "a\xa0cat\u2003on a\u202fmat": "a cat on a mat",
    "a cafe\u0301": "a caf\xe9",
    "a \u212bngstr\xf6m": "a \xe5ngstr\xf6m",
    "a caf\xc3\xa9": "a caf\xe9",
    "a cat\xe2\u20ac\u2122s eye": "a cat's eye",
    "a cat\xe2\x80\x99s eye": "a cat's eye",
    "it\x92s \x93old\x94": 'it\'s "old"',
    "Tom &amp; Jerry": "tom & jerry",
    "Tom &amp;amp; Jerry": "tom & jerry",
    "a cat&rsquo;s &quot;eye&quot;": 'a cat\'s "eye"',
    "a cat&#x27;s &lt;eye&gt;": "a cat's <eye>",
    "a \ud83d\ude00 face": "a \U0001f600 face",
}


@pytest.mark.parametrize(("typed", "meant"), MEANT.items(), ids=[ascii(text) for text in MEANT])
def test_what_is_typed_is_what_is_meant(
    tokenizer: CLIPTokenizer, original: OpenClipReading, typed: str, meant: str
) -> None:
    assert tokenise(tokenizer, [typed]).tolist() == tokenise(tokenizer, [meant]).tolist()
    assert read(tokenizer, typed) == original(typed)


KEPT = [
    "",
    "plain words, and a comma",
    "DON'T we'll they're I've 'tis o'clock 'S 'ſ",
    "two  blanks ,and 4k,16:9 f/2.8 (((masterpiece:1.2)))",
    "naïve ΟΔΟΣ İstanbul ẞ Ǆ ﷺ ½ Ⅳ ² № ™",
    "夜の海 🌊 한국어 ไทย हिन्दी العربية עברית",
    "👩\u200d👩\u200d👧 👍🏽 🇫🇷 a\u200bb\u200dc\u2060 x\u00ady",
    "e&#769; &nbsp;&hellip;&notit; &#133; &#0; &#xD800; &#x110000;",
    "a <b>bold</b> &lt;i&gt; &amp;",
    "lone \ud83d and \udc00 halves",
    "<|endoftext|> <|startoftext|> <|ENDOFTEXT|> a<|endoftext|>b",
    "<pad> [PAD] </w> </s> <s>",
    "! !! wow!!!",
    "it\x92s \x93old\x94\x85",
    "\u2066left\u2069 \u202eright\u202c \ufffc \ufffd",
    "ç\x8cfé \x85\x93old\x94",
    "\u0149 \ufb13 \ufb4f \u2460 \u3392 \U0001d400 \u33a1",
    "\xc3\x85ngstr\xc3\xb6m",
]


@pytest.mark.parametrize("prompt", KEPT, ids=[ascii(text)[:40] for text in KEPT])
def test_ids_are_those_of_the_original(
    tokenizer: CLIPTokenizer, original: OpenClipReading, prompt: str
) -> None:
    assert read(tokenizer, prompt) == original(prompt)


def test_any_mixture_of_characters_is_read_as_by_the_original(
    tokenizer: CLIPTokenizer, original: OpenClipReading
) -> None:
    """Characters of every block, alone and among words."""
    chance = random.Random(5)
    characters = [
        chr(code)
        for code in range(0x3400)
        if unicodedata.category(chr(code)) != "Cn" and chr(code) != "\x85"
    ]
    characters += [chr(code) for code in range(0xFB00, 0x10000, 3)]
    chance.shuffle(characters)
    for begin in range(0, len(characters), 7):
        prompt = "a cat " + " ".join(chance.choices(characters, k=3))
        prompt += "'s eye" + "".join(characters[begin : begin + 7])
        assert read(tokenizer, prompt) == original(prompt), ascii(prompt)


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>"])
def test_nobody_can_type_a_special_token(tokenizer: CLIPTokenizer, token: str) -> None:
    ids = tokenise(tokenizer, [f"a cat {token} a dog"])[0].tolist()
    assert (ids.count(START), ids.count(END)) == (1, 1)
    words = ids[1 : ids.index(END)]
    assert words[:2] == read(tokenizer, "a cat")[1:-1]
    assert words[-2:] == read(tokenizer, "a dog")[1:-1]
    assert words[2:-2] == read(tokenizer, token)[1:-1]
    assert len(words) > 4


@pytest.mark.parametrize("token", ["<start_of_text>", "<end_of_text>", "<END_OF_TEXT>"])
def test_the_names_of_the_original_are_text_too(
    tokenizer: CLIPTokenizer, original: OpenClipReading, token: str
) -> None:
    """Here the original is the odd one: it takes what somebody typed for its own token."""
    typed = f"a cat {token} a dog"
    ids = read(tokenizer, typed)
    assert (ids.count(START), ids.count(END)) == (1, 1)
    assert ids[1:-1] == read(tokenizer, typed.replace("_", " _ "))[1:-1]
    known = original(typed)
    assert known.count(START) + known.count(END) == 3


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a cat\x85a dog", "a cat a dog"),
        ("\x85a cat\x85", "a cat"),
        ("a caf\xc3\xa9\x85\xc3\x85", "a caf\xe9 \xe5"),
        ("a caf\xe9\x85a dog", "a caf\xe9 a dog"),
    ],
)
def test_the_line_break_of_some_machines_is_a_blank(
    tokenizer: CLIPTokenizer, original: OpenClipReading, typed: str, meant: str
) -> None:
    """Here the original is the odd one: U+0085 is an ellipsis to it."""
    assert read(tokenizer, typed) == read(tokenizer, meant)
    assert original("a cat\x85a dog") == original("a cat\u2026a dog")


def test_a_tokenizer_that_pads_with_a_word_still_reads_the_word(
    tokenizer: CLIPTokenizer, original: OpenClipReading
) -> None:
    """Some published folders name "!" as their padding, which makes it a special token there."""
    padding = CLIPTokenizer(
        vocab=tokenizer.get_vocab(),
        merges=[tuple(pair) for pair in tokenizer._merges],
        pad_token="!",
    )
    assert padding("wow!")["input_ids"][2] == 0
    assert read(padding, "wow!") == original("wow!")


def test_unread_words_are_counted_as_they_are_read(tokenizer: CLIPTokenizer) -> None:
    many = "a cat\u2019s " * 25
    assert unread_end(tokenizer, many) == ""
    assert unread_end(tokenizer, many + "Zebra\u2019s eye") == "Zebra's eye"
    pieces = len(read(tokenizer, "<|endoftext|>")) - 2
    unread = unread_end(tokenizer, "<|endoftext|> " * 100).split()
    assert unread == ["<|endoftext|>"] * (100 - 75 // pieces)
    assert unread_end(tokenizer, "\x00\ufeff" * 100 + "a cat") == ""
