"""Simulations of the decisions: promotion, degradation, intervals and drift."""
