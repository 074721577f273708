"""The parts that all packages share; nothing here knows the project."""
