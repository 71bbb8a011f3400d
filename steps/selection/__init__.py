"""Ranking of candidates, the test of the winner, and its promotion."""
