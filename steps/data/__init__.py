"""Splits: their files, MLflow records and row fingerprints; and the credit card data set."""
