"""SQLite and PostgreSQL below the store: connections, write access, errors in words."""
