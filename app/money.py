"""Money is integer minor units beside its currency inside, and an exact decimal at the edge."""

from decimal import Decimal

# ISO 4217: the active currencies by the number of decimals of their minor unit. Funds, metals and
# test codes (XAU, XXX, …) are left out: nobody pays an order with them.
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

    Raises ValueError, with a reason fit for the client, where the amount has more decimals than the currency.
    """
    minor = int(amount.scaleb(DECIMALS[currency]))
    # Arithmetic rounds to 28 digits, comparison does not: so the amount itself is what must be met.
    if Decimal(minor).scaleb(-DECIMALS[currency]) != amount:
        raise ValueError(f"must have at most {DECIMALS[currency]} decimals in {currency}")
    return minor


def to_text(minor: int, currency: str) -> str:
    """The amount in major units as a JSON number with all decimals of its currency: `200.00`."""
    decimals = DECIMALS[currency]
    if decimals == 0:
        return str(minor)
    whole, fraction = divmod(minor, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}"
