"""What is needed (`*.in`), the locks of it (`*.txt`), and the audit of them."""
