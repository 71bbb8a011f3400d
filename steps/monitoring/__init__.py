"""Monitoring of the champion: drift, live performance, retraining."""
