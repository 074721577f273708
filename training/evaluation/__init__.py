"""Measuring a model: prompts with known facts, clips, metrics and a judge, a report.

The modules, from the bottom: ``prompts`` (what is asked), ``metrics`` (measurements of one clip),
``records`` and ``clip_metrics`` (one judged clip), ``clips`` and ``processes`` (a pipeline makes
it), ``report`` and ``fps_curve`` (what the clips add up to), ``targets`` (what a report is held
to), ``report_json``, ``html_report`` and ``contact_sheet`` (its files), ``ground_truth`` (how far
the judge can be trusted), ``run`` (a model) and ``clip_folder`` (clips made elsewhere),
``command`` (the command line).

Nothing is imported here: the command line must not wait for torch to say what its options are.
"""
