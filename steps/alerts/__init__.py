"""Alerts for findings of the monitoring."""
