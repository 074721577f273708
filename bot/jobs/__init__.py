"""A job from its order to its delivered clip."""
