"""The database of the prediction log: tables, connections, migrations."""
