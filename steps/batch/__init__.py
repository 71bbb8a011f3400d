"""Batch scoring on Spark."""
