"""Portable scorers, their features and the predictions that they return."""
