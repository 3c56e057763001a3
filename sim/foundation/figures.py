"""Numbers in sentences."""

from decimal import Decimal


def figure(value: float, digits: int = 3) -> str:
    """Return a number with at most *digits* significant digits, whole from there on: never a power of ten.

    >>> figure(0.3472), figure(28.0), figure(86_395.4), figure(12_345.6, 4), figure(0.0000495)
    ('0.347', '28', '86,395', '12,346', '0.0000495')
    """
    text = f"{value:,.{digits}g}"
    if "e-" in text:
        return f"{Decimal(text):f}"
    return f"{value:,.0f}" if "e+" in text else text
