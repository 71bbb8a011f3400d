"""Export and purge of the prediction log."""
