"""Scenario of the demo: traffic that drifts, a running service, and the account of the loop."""
