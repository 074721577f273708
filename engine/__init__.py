"""Latent video diffusion: models, samplers, pipelines, checkpoints, and an engine to serve them.

The floors, each standing on the ones before: ``models``, ``schedulers``, ``pipelines``,
``checkpoints``, ``serving``. Nothing here knows of Discord.
"""
