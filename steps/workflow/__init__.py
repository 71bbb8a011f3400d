"""Running one entry point from another, with a step cache."""
