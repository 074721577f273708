"""Order the waiting jobs, and estimate what they cost."""
