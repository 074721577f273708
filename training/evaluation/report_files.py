"""The files of a report."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from training.evaluation.contact_sheet import contact_sheet
from training.evaluation.html_report import to_html
from training.evaluation.report import Report
from training.evaluation.report_json import to_json


def write_report(report: Report, folder: Path) -> None:
    """Put ``report.html`` and ``report.json`` in place, each whole, and a contact sheet.

    Clips of several sizes do not fit on a sheet; their report has none.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ["report.json", "report.html"]
    shapes = {clip.frames.shape for clip in report.clips if clip.frames is not None}
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as part:
        parts = Path(part)
        (parts / "report.json").write_text(to_json(report), encoding="utf-8")
        (parts / "report.html").write_text(to_html(report), encoding="utf-8")
        if len(shapes) == 1:
            contact_sheet(report).save(parts / "contact-sheet.png")
            names.insert(0, "contact-sheet.png")
        for name in names:
            os.replace(parts / name, folder / name)
