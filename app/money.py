"""Money: integer minor units with a currency inside the service, and an exact decimal at its edge."""

from decimal import Decimal

# The active currencies of ISO 4217 by the number of their decimals. Funds, metals and test codes
# (XAU, XXX, …) are left out, since orders are not paid with them.
_CODES_BY_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
        CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
        HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA
        MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN
        QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP
        TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
DECIMALS = {code: decimals for decimals, codes in _CODES_BY_DECIMALS.items() for code in codes.split()}


def to_minor(amount: Decimal, currency: str) -> int:
    """The amount in minor units of the currency.

    Raises ValueError if the amount has more decimals than the currency. Its text is meant for clients.
    """
    minor = int(amount.scaleb(DECIMALS[currency]))
    # Decimal arithmetic rounds to 28 digits, but a comparison does not. So this compares with the amount
    # itself.
    if Decimal(minor).scaleb(-DECIMALS[currency]) != amount:
        raise ValueError(f"must have at most {DECIMALS[currency]} decimals in {currency}")
    return minor


def to_text(minor: int, currency: str) -> str:
    """The amount in major units as a JSON number with all decimals of its currency: `200.00`."""
    decimals = DECIMALS[currency]
    if decimals == 0:
        return str(minor)
    whole, fraction = divmod(abs(minor), 10**decimals)
    return f"{'-' if minor < 0 else ''}{whole}.{fraction:0{decimals}d}"
