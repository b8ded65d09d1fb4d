"""The whole service on one machine, servers included, for a first look and for the tests."""
