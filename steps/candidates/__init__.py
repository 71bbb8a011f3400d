"""Candidate runs in MLflow."""
