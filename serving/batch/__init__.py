"""Scoring of large tables by the workers of a Spark cluster.

A worker needs numpy, pandas, pyarrow, pydantic, and the library of the scorer's runtime.
"""
