"""Alerts about findings of the monitoring."""
