"""Small helpers for files, disks, memory and validation; nothing here knows the project."""
