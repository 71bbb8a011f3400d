"""Champions in the MLflow Model Registry: versions, changes, history and model cards."""
