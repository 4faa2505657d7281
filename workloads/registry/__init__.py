"""Model management: a model's folder is signed, then registered in MLflow with its lineage."""
