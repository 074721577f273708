"""Measurements: speed, memory and quality figures of the project."""
