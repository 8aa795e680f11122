"""Amounts of money as whole cents."""

from __future__ import annotations

from collections.abc import Sequence


def parse_amount(text: str) -> int:
    """Cents of an amount such as ``12``, ``-1,234.5`` or ``(3.20)``."""
    text = text.strip().replace(",", "")
    negative = text.startswith("-")
    if negative:
        text = text[1:]
    elif text.startswith("(") and text.endswith(")"):
        negative = True
        text = text[1:-1]
    whole, _, fraction = text.partition(".")
    if len(fraction) > 2:
        raise ValueError("more than two decimals")
    cents = int(whole or "0") * 100 + int(fraction.ljust(2, "0"))
    return -cents if negative else cents


def format_amount(cents: int, symbol: str = "") -> str:
    """The amount with thousands separators, such as ``-1,234.50``."""
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{symbol}{whole:,}.{rest:02d}"


def round_half_even(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` to the nearest integer, a tie to the even one."""
    quotient, rest = divmod(numerator, denominator)
    if rest * 2 > denominator:
        return quotient + 1
    if rest * 2 == denominator and quotient % 2 == 1:
        return quotient + 1
    return quotient


def percentage(cents: int, percent: int) -> int:
    """``percent`` per cent of an amount, rounded half to even."""
    return round_half_even(cents * percent, 100)


def allocate(cents: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weight, without losing a cent.

    The cents which remain go one each to the first shares with a weight.
    """
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError("weights must be positive")
    shares = [cents * weight // total for weight in weights]
    rest = cents - sum(shares)
    for i, weight in enumerate(weights):
        if rest == 0:
            break
        if weight > 0:
            shares[i] += 1
            rest -= 1
    return shares


def instalments(cents: int, months: int, rate: int = 0) -> list[int]:
    """Equal monthly payments; the last one takes what rounding left over.

    ``rate`` is a flat fee on the whole amount, in per cent.
    """
    owed = cents + percentage(cents, rate)
    monthly = owed // months
    payments = [monthly] * (months - 1)
    payments.append(owed - sum(payments))
    return payments
