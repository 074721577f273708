"""Measuring a model: prompts with known facts, clips, the judge's agreement, a report.

The modules, from the bottom: ``prompts`` (what is asked), ``clips`` and ``processes`` (a pipeline
makes it), ``records`` and ``figures`` (one judged clip), ``report``, ``fps_curve`` and ``bars``
(what the clips add up to), ``page`` and ``contact_sheet`` (for people), ``ground_truth`` (how far
the judge can be trusted), ``command`` (the command line).

Nothing is imported here: the command line must not wait for torch to say what its options are.
"""
