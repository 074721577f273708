"""Load model folders and LoRAs into pipelines."""
