"""The prediction log: its rows as Arrow tables, export and purge."""
