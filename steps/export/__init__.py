"""Export of trained models to portable scorers."""
