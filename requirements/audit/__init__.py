"""Audits the locked packages: the lock files, the licences and the known vulnerabilities."""
