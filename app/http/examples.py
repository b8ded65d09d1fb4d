"""The examples in the OpenAPI document. A test validates them against their schemas."""

from typing import Any

ADJUSTMENTS = [
    {"kind": "shipping", "name": "Parcel", "amount": 4.90},
    {"kind": "discount", "name": "Welcome", "amount": -10.00},
    {"kind": "tax", "name": "VAT", "amount": 31.12, "included": True},
]
NEW_ORDER: dict[str, Any] = {
    "userId": "user-id",
    "products": [{"productId": "product-id", "quantity": 2, "unitPrice": 100.00}],
    "adjustments": ADJUSTMENTS,
    "totalAmount": 194.90,
}
ORDER: dict[str, Any] = {
    "id": "66ffbd20a1b2c3d4e5f60718",
    "number": "R675-51RT-P",
    "userId": "user-id",
    "products": [{"line": 1, "productId": "product-id", "quantity": 2, "unitPrice": 100.00}],
    "adjustments": ADJUSTMENTS,
    "totalAmount": 194.90,
    "currency": "USD",
    "status": "pending",
    "payment": {"status": "pending", "capturedAmount": 0.00, "refundedAmount": 0.00},
    "stock": {"status": "pending"},
    "fulfillment": {"status": "none", "open": [{"line": 1, "quantity": 2}]},
    "version": 1,
    "createdAt": "2024-10-04T10:00:00.000Z",
    "updatedAt": "2024-10-04T10:00:00.000Z",
}
CREATED = {"message": "Order created successfully", "order": ORDER}
SHIPMENT = {"status": "shipped", "tracking": {"carrier": "DHL", "number": "00340434161094000000"}}
UPDATED = {"message": "Order updated successfully", "order": ORDER | SHIPMENT | {"version": 6}}
PAGE = {"orders": [ORDER], "nextCursor": "TpYr0xkE6lF-2l82NmZmYmQyMGExYjJjM2Q0ZTVmNjA3MTg"}
LEVEL = {
    "productId": "product-id",
    "onHand": 10,
    "held": 2,
    "version": 3,
    "updatedAt": "2024-10-04T10:00:00.000Z",
}
NEW_LEVEL = {"onHand": 10}
LEVELS = {"levels": [LEVEL]}
MOVEMENT = {
    "id": "66ffbd20a1b2c3d4e5f6071a",
    "quantity": -2,
    "kind": "decrement",
    "orderId": ORDER["id"],
    "at": "2024-10-04T10:00:00.000Z",
}
MOVEMENTS = {"movements": [MOVEMENT]}
PAYMENT_EVENT = {"type": "payment.captured", "data": {"orderId": ORDER["id"]}}
NEW_ADJUSTMENT = {"quantity": -3, "reason": "damaged"}
ADJUSTMENT = LEVEL | {
    "movement": {
        "id": "66ffbd20a1b2c3d4e5f6071b",
        "kind": "adjustment",
        "at": "2024-10-04T10:00:00.000Z",
        **NEW_ADJUSTMENT,
    }
}
EVENTS = {
    "events": [
        {
            "sequence": 1,
            "type": "order.created",
            "at": ORDER["createdAt"],
            "actor": "user-id",
            "data": {"totalAmount": 194.90, "currency": "USD"},
            "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        }
    ]
}
VERIFICATION = {"intact": True}
HEALTH = {"status": "ok"}
READINESS = {"status": "ready", "checks": {"database": "ok", "migrations": "ok", "broker": "ok"}}
FEED = {
    "events": [
        {
            "id": f"{ORDER['id']}:1",
            "type": "order.created",
            "timestamp": ORDER["createdAt"],
            "data": {"order": ORDER, "sequence": 1},
        }
    ],
    "nextCursor": "dv9ndr3wCmYqMQ",
    "hasMore": False,
}
