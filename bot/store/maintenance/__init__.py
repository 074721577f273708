"""Migrate, back up and restore the database."""
