"""The fields of the shipments, part cancellations and returns of an order, each defined once."""

from functools import partial

from app.orders.states import FULFILLMENTS, RETURN_STATUS, SHIPMENT_STATUS
from app.orders.values import MOST_LINES, MOST_OF_A_LINE, WEB_ADDRESS
from app.shapes import Amount, Choice, Field, Flag, Many, Moment, Record, Text, Whole

# What happens to the money of a return.
REFUNDED_AT = ON_RECEIPT, ON_APPROVAL, _ = ("on_receipt", "on_approval", "none")
CONDITIONS = RESELLABLE, _ = ("resellable", "damaged")
LONGEST_REASON, LONGEST_RETURN_NOTE = 500, 2_000

_may = partial(Field, given="optional", always=False)
_own = partial(Field, always=False)

_LINE = Field("line", Whole(1, MOST_LINES), "The number of the line.", given="required")
_QUANTITY = Field("quantity", Whole(1, MOST_OF_A_LINE), "The number of pieces.", given="required")
_REASON = Text(LONGEST_REASON, lines=True)

PIECES = Record("Pieces", "Pieces of a line.", (_LINE, _QUANTITY))
FULFILLMENT = Record(
    "Fulfillment",
    "How far the goods of an order are on their way.",
    (
        Field(
            "status",
            Choice(FULFILLMENTS),
            "`none` without shipments, `partial` while pieces are open, else `shipped`, or `delivered` if "
            "all shipments are. Cancelled shipments do not count.",
        ),
        Field("open", Many(PIECES), "The pieces that are neither shipped nor cancelled, by line."),
    ),
)
TRACKING = Record(
    "Tracking",
    "The data for tracking the parcel.",
    (
        _may("carrier", Text(100), "The name of the carrier."),
        _may("number", Text(100), "The carrier's number of the parcel."),
        _may("url", Text(2000, WEB_ADDRESS), "The page on which the customer can follow the parcel."),
    ),
)
SHIPMENT = Record(
    "StoredShipment",
    "A shipment of pieces of an order.",
    (
        Field("id", Text(), "The id of the shipment."),
        Field("status", Choice(tuple(SHIPMENT_STATUS)), "The status of the shipment."),
        Field("products", Many(PIECES, 1, MOST_LINES), "The pieces in the parcel."),
        _own("tracking", TRACKING, "The data for tracking the parcel."),
        # Each correction adds a tracking to the log, which has to stay small.
        _own("corrections", Whole(1), "The number of corrections of its tracking.", shown=False),
        Field("createdAt", Moment(), "The time of the shipment."),
        Field("updatedAt", Moment(), "The time of the last change."),
        _own("deliveredAt", Moment(), "The time of the delivery; present once it is delivered."),
    ),
)
PART_CANCELLATION = Record(
    "StoredPartCancellation",
    "A cancellation of pieces of an order.",
    (
        Field("id", Text(), "The id of the cancellation."),
        Field("products", Many(PIECES, 1, MOST_LINES), "The pieces that are cancelled."),
        _own("reason", _REASON, "The reason that the request gave."),
        Field("amount", Amount(), "The price of the pieces, exact, in major units."),
        _own("refundId", Text(), "The id of the refund that returns the amount, if it was captured."),
        _own("lowers", Flag(), "Present if it lowers the amount to capture.", shown=False),
        _own(
            "restocked",
            Flag(),
            "Whether the pieces are back in the stock; absent if they never left it.",
            shown=False,
        ),
        Field("createdAt", Moment(), "The time of the cancellation."),
    ),
)
RETURNED_PIECES = Record(
    "ReturnedPieces",
    "Pieces of a line that come back.",
    (_LINE, _QUANTITY, _may("reason", _REASON, "Why they come back.")),
)
RECEIVED_PIECES = Record(
    "ReceivedPieces",
    "Pieces of a line that came back.",
    (
        _LINE,
        _QUANTITY,
        Field("condition", Choice(CONDITIONS), "Whether they can be sold again.", given="required"),
    ),
)
RECEIPT = Record(
    "Receipt",
    "A parcel of a return that was received.",
    (
        Field("receipt", Whole(1), "The number of the receipt within the return, from 1."),
        Field("products", Many(RECEIVED_PIECES, 1, 2 * MOST_LINES), "The pieces in the parcel."),
        _own("unannounced", Many(PIECES, 1), "Those of the pieces that the return did not announce."),
        _own("amount", Amount(), "The amount that is given back for the pieces, exact, in major units."),
        _own("refundId", Text(), "The id of the refund that gives it back."),
        _own("restocked", Flag(), "Present once the resellable pieces are back in the stock.", shown=False),
        Field("at", Moment(), "The time of the receipt."),
    ),
)
REJECTION = Record(
    "Rejection",
    "The reason for the rejection.",
    (Field("reason", _REASON, "The reason that the request gave.", given="required"),),
)
RETURN = Record(
    "StoredReturn",
    "A return of shipped pieces of an order.",
    (
        Field("id", Text(), "The id of the return."),
        Field("status", Choice(tuple(RETURN_STATUS)), "The status of the return."),
        Field(
            "products", Many(RETURNED_PIECES, 1, MOST_LINES), "The pieces that come back.", given="required"
        ),
        _may("note", Text(LONGEST_RETURN_NOTE, lines=True), "A note about the return."),
        Field(
            "refund",
            Choice(REFUNDED_AT),
            "When the money of the pieces is given back: `on_receipt` (default), `on_approval` or `none`.",
            given="optional",
        ),
        _own("amount", Amount(), "The amount that the approval gives back, exact, in major units."),
        _own("refundId", Text(), "The id of the refund that gives it back."),
        _own("rejection", REJECTION, "Why the return was rejected; present if it was."),
        Field("receipts", Many(RECEIPT), "The parcels that were received, oldest first."),
        Field("createdAt", Moment(), "The time of the announcement."),
        Field("updatedAt", Moment(), "The time of the last change."),
    ),
)
