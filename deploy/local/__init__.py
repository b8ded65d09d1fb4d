"""The whole service on one machine, with its servers, for a first try and for the tests."""
