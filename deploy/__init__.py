"""How the service is run: on one machine, in an image, behind a proxy."""
