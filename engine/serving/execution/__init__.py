"""Run a batch on a device: pipelines, memory, previews, files, failures."""
