"""What is known of the packages that are locked: do the locks hold, may all be used, is any vulnerable."""
