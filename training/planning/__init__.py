"""Estimate what a recipe costs, on models without weights."""
