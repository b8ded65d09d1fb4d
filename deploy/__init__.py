"""Running the service: on one machine, in an image, behind a proxy."""
