"""Data for training: the procedural world with its captions, data sets of media, and latents."""
