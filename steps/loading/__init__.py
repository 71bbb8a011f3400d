"""Reading, validation, deduplication and splitting of tables, in DuckDB."""
