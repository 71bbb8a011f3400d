"""The registered champion as an MLflow pyfunc."""
