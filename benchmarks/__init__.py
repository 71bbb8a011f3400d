"""Scripts that measure, and record what was measured."""
