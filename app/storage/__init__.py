"""MongoDB, one module per collection: the only package that knows of pymongo."""
