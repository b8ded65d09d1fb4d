"""The bounds and forms of single values in orders. A form is a pattern and the error if it fails."""

ID_LENGTH = 128
MOST_LINES, MOST_OF_A_LINE = 200, 1_000_000

# Spaces and control characters, in a notation that Python and ECMAScript read in the same way.
_GAPS = r"\s\u0000-\u001f\u007f\u0085\ufeff"
EMAIL = (rf"^[^@{_GAPS}]{{1,64}}@[^@.{_GAPS}]+(\.[^@.{_GAPS}]+)+$", "must be an email address")
COUNTRY = (r"^[A-Z]{2}$", "must be an ISO 3166-1 country code such as DE")
WEB_ADDRESS = (
    rf"^https?://[^/?#@\[\]\\{_GAPS}]+([/?#][^{_GAPS}]*)?$",
    "must be a URL that begins with https:// or http://, without user or password",
)
TAG = (r"^[a-z0-9:_-]{1,40}$", "must have 1 to 40 characters of a-z, 0-9, :, _ and -")
ORDER_ID = (r"^[0-9a-f]{24}$", "must be an order's id")
HOLD_CODE = (r"^[a-z0-9_]{1,40}$", "must be 1 to 40 of a-z, 0-9 and _")
NUMBER = (r"^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]$", "must be an order's number")
