"""Serving of champions: scorer, prediction log, HTTP service, and batch scoring.

The package imports neither `steps` nor any training library: each registered model contains a copy
of it.
"""
