"""Reading of model folders that strangers made: bounded, regular files only, and safe to show."""
