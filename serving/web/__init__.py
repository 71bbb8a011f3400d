"""The HTTP service around the champion and its prediction log: see `serving.app`."""
