"""The outside world: payment providers and notification channels."""
