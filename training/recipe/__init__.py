"""Training recipes: validated TOML files, one a stage."""
