"""The report as a page."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.training.evaluation.conftest import I2V, Scripted, run
from training.evaluation import html_report
from training.evaluation.html_report import to_html
from training.evaluation.intervals import Proportion
from training.evaluation.prompts import Prompt
from training.evaluation.report import JudgeCheck, Report
from training.evaluation.report_json import from_json, to_json

VOID = {"meta", "link", "img", "source", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and texts; refuses tags that are not closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts, self.rows = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] != "tr" and "tr" in self.open and data.strip():
            self.rows[-1].append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def row(self, title):
        return next(row for row in self.rows if row and row[0] == title)


@pytest.fixture(scope="module")
def mixed(cases, perfect, frozen):
    """Half of the clips are right, half stand still; with all that a report can have."""
    clips = tuple((frozen if i % 2 else perfect).clips[i] for i in range(len(perfect.clips)))
    checks = (
        JudgeCheck("drawn clips", {"colour": Proportion(31, 32), "motion": Proportion(30, 32)}),
    )
    settings = {"model": "demo", "split": "held-out", "revision": "abc", "command": "x --y"}
    return replace(
        frozen, clips=clips, judge_checks=checks, settings={**frozen.settings, **settings}
    )


@pytest.fixture(scope="module")
def html(mixed):
    return to_html(mixed)


def test_the_page_needs_nothing_but_itself(html):
    document = Page(html)
    for tag, attributes in document.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://", html)
    policies = [m for m in document.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policies[0]["content"]
    assert len(html) < 8e6


def test_the_page_is_said_in_a_language_and_has_names_for_what_is_drawn(html):
    document = Page(html)
    assert document.all("html")[0]["lang"] == "en"
    assert document.all("svg")[0]["role"] == "img"
    assert document.all("svg")[0]["aria-label"]
    assert all(image["alt"] for image in document.all("img"))
    assert {heading["scope"] for heading in document.all("th")} == {"col", "row"}
    assert "prefers-color-scheme: dark" in html


def test_the_page_holds_the_figures_of_the_json(html, mixed):
    document, figures = Page(html), json.loads(to_json(mixed))
    for name, title in html_report.RATES.items():
        rate = figures["rates"][name]
        row = document.row(title)
        assert row[1] == f"{rate['hits']}/{rate['total']}"
        assert row[2] == f"{100 * rate['share']:.1f} %"
        low, high = rate["interval"]
        assert row[3] == f"{100 * low:.1f}–{100 * high:.1f} %"
    for bar in figures["bars"]:
        assert document.row(bar["title"])[-1] == ("yes" if bar["passed"] else "no")
        assert document.row(bar["title"])[1] == f"{100 * bar['value']:.1f} %"
    for name, (title, _, factor) in html_report.FIGURES.items():
        if figures["figures"][name] is not None:
            shown = float(document.row(title)[1])
            assert shown == pytest.approx(factor * figures["figures"][name]["median"], rel=0.006)
    misfit = float(document.row("area in which object and ideal shape differ")[1])
    assert misfit == pytest.approx(100 * figures["misfit"]["median"], rel=0.006)
    for point in figures["fps_curve"]["points"]:
        row = document.row(str(point["fps"]))
        assert float(row[1]) == pytest.approx(point["speed"]["median"], rel=0.006, abs=1e-6)
        assert float(row[4]) == pytest.approx(point["truth"], rel=0.006)
    assert document.row("drawn clips")[1:] == ["31/32", "30/32"]
    for name, value in figures["settings"].items():
        assert document.row(name)[-1] in (str(value), name)


def test_confusions_name_what_fails(html, mixed):
    document = Page(html)
    for asked, seen in mixed.confusion("motion").counts.items():
        row = next(r for r in document.rows if r and r[0] == asked and len(r) == 12)
        assert row[1:10] == [str(seen[name] or "·") for name in mixed.confusion("motion").columns]


def shown_prompts(html):
    return [image["alt"].removeprefix("Clip for: ") for image in Page(html).all("img")]


def test_failures_come_first_in_the_order_of_the_prompts(html, mixed):
    bad = [clip.prompt.text for clip in mixed.clips if not clip.obeys]
    good = [clip.prompt.text for clip in mixed.clips if clip.obeys]
    assert bad
    assert good
    assert shown_prompts(html) == [*bad, *good]
    assert shown_prompts(to_html(mixed, clips=3)) == bad[:3]


def picture(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))


def test_clips_move_unless_less_motion_is_wanted(perfect):
    clip = next(clip for clip in perfect.clips if clip.prompt.direction)
    document = Page(to_html(replace(perfect, clips=(clip,))))
    moving = picture(document.all("img")[0]["src"])
    assert (moving.n_frames, moving.size) == (16, (64, 64))
    for index in (0, 9):
        moving.seek(index)
        moving.load()
        assert moving.info["duration"] == 1000 / 8
        shown = np.asarray(moving.convert("RGB")).transpose(2, 0, 1).astype(float)
        assert np.abs(shown - clip.frames[index]).mean() < 6
    calm = document.all("source")[0]
    assert calm["media"] == "(prefers-reduced-motion: reduce)"
    assert getattr(picture(calm["srcset"]), "n_frames", 1) == 1


def test_prompts_cannot_write_the_page(mixed):
    text = """<script>alert("1")</script> '" onload=x & <img src=//a.b>"""
    odd = replace(mixed.clips[0], prompt=Prompt(text, colour="<b>red</b>"))
    settings = {**mixed.settings, "model": "<i>x</i>", "command": "</code><script>"}
    html = to_html(replace(mixed, clips=(odd,), settings=settings))
    document = Page(html)
    assert document.all("script") == []
    assert document.all("i") == document.all("b") == []
    assert len(document.all("img")) == 1
    assert document.all("img")[0]["alt"] == f"Clip for: {text}"
    assert any(text in words for words in document.texts)


def test_pictures_have_their_figures(cases):
    report = run(Scripted(cases), cases[:4], I2V, curve_prompts=0)
    document = Page(to_html(report))
    bar = document.row("First frame against the picture, mean")
    assert bar[1] == f"{report.first_frame_psnr.mean:.1f} dB"
    assert bar[-2:] == ["at least 20 dB", "yes"]
    assert document.row("first frame within 20 dB of the picture")[1] == "4/4"
    assert document.row("Slower at every higher fps label")[-1] == "not measured"
    assert document.all("svg") == []


def test_a_report_without_frames_or_clips_is_a_page_without_pictures(mixed):
    bare = from_json(to_json(mixed))
    assert Page(to_html(bare)).all("img") == []
    assert Page(to_html(bare)).row("colour as asked") == Page(to_html(mixed)).row("colour as asked")
    empty = Page(to_html(Report({}, ())))
    assert empty.row("colour as asked")[1:3] == ["0/0", "–"]


def test_the_page_says_when_its_figures_are_not_those_of_the_bars(mixed):
    assert "The bars are meant for 200" in to_html(mixed)
    many = replace(mixed, clips=mixed.clips * 10)
    assert len(many.clips) == 200
    assert "The bars are meant for 200" not in to_html(many, clips=1)
    seen = replace(many, settings={**many.settings, "split": "train"})
    assert "The bars are meant for 200" in to_html(seen, clips=1)
