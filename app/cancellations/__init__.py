"""Part cancellations: the customer or the shop takes open pieces off an order."""
