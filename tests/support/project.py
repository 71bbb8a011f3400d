"""Paths of the project."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE_FILE = PROJECT / "data" / "creditcard_sample.parquet"
TWO_ROWS_FILE = PROJECT / "serving" / "web" / "two-rows.json"
TWO_ROWS_SPLIT_FILE = PROJECT / "docs" / "two-rows-mlflow.json"
