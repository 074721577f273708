"""Workers of this machine: one thread for each device."""
