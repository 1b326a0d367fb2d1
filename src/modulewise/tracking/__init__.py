"""MLflow made equal to the records."""
