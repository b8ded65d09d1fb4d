"""The rules of the shop, in plain Python: nothing here knows of HTTP, MongoDB or Celery."""
