"""What training reads: the procedural world, its captions, and latents of its clips."""
