"""The HTTP edge: routes, what they take and show, and an answer for everything that can go wrong."""
