"""What the service does, one verb phrase each; it knows neither Flask nor Celery."""
