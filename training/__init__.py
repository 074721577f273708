"""Training of the video models: data, stages, the loop, and how the results are judged."""
