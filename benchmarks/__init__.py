"""The figures the README quotes: the service beside its rivals and the bare driver, all in one run."""
