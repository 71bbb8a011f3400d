"""Benchmarks, and the record of a run for the documentation."""
