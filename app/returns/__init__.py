"""Returns of shipped pieces: announce, approve, receive, close. The order services do the work."""
