"""The required packages (`*.in`), their locks (`*.txt`), and the audit of both."""
