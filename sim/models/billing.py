"""What a component's operations move on the provider's bill: meters, and amounts on them.

Picture the invoice: each line is a *meter* (requests, CPU milliseconds, rows written, ...) with an amount used, an
amount that the plan includes, and a price for the rest. A meter names the platform facts that hold price and
inclusion; no price stands in a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAYS_PER_MONTH = 30
SECONDS_PER_MONTH = DAYS_PER_MONTH * 86_400


@dataclass(frozen=True)
class Meter:
    """One line of the price list.

    Attributes
    ----------
    name : str
        ``component.what``, as in ``d1.rows_read``.
    unit : str
        Unit of the amounts.
    price, included : str
        Keys of the platform facts that hold the price and the monthly inclusion; *included* is empty when there is
        none.
    per : float
        Amount that the price buys.
    whole : float
        Amounts beyond the inclusion are rounded up to a multiple of this; 0 for no rounding.
    scale : str
        Key of a platform fact that an operation's amount is multiplied by; empty for none.
    once : bool
        Whether it is a fee of the whole account: billed once, however many instances move it.
    """

    name: str
    unit: str
    price: str
    included: str = ""
    per: float = 1e6
    whole: float = 0.0
    scale: str = ""
    once: bool = False

    @property
    def component(self) -> str:
        """The component whose line this is."""
        return self.name.partition(".")[0]

    @property
    def what(self) -> str:
        """What is counted."""
        return self.name.partition(".")[2]


def meter(
    name: str,
    unit: str,
    *,
    price: str,
    included: str = "",
    per: float = 1e6,
    whole: float = 0.0,
    scale: str = "",
    once: bool = False,
) -> Meter:
    """Return a meter whose facts are in its component's pricing group."""
    home = f"{name.partition('.')[0]}.pricing"
    return Meter(
        name=name,
        unit=unit,
        price=f"{home}.{price}",
        included=f"{home}.{included}" if included else "",
        per=per,
        whole=whole,
        scale=f"{home}.{scale}" if scale else "",
        once=once,
    )


def per_million(name: str, unit: str, *, fact: str) -> Meter:
    """Return the usual meter: some are included each month, every further million costs."""
    return meter(name, unit, price=f"{fact}_overage_per_million", included=f"{fact}_included_month")


@dataclass(frozen=True)
class Usage:
    """What is moved on the meters.

    Attributes
    ----------
    amounts : mapping of str to float
        Amount by meter, in the unit that the meter's scale starts from.
    stored_gb : mapping of str to float
        What is added to a meter of storage and stays there, in GB.
    """

    amounts: Mapping[str, float] = field(default_factory=dict)
    stored_gb: Mapping[str, float] = field(default_factory=dict)


NOTHING = Usage()

GB = 1_000_000 * 1_000
"""Bytes that the bill counts as one GB."""


@dataclass(frozen=True)
class Call:
    """What the bill must know of one call.

    Attributes
    ----------
    parameters : Table
        What the step says of the operation.
    size_bytes : float
        Mean size of its request's body or answer.
    """

    parameters: Any
    size_bytes: float = 0.0


@dataclass(frozen=True)
class Demand:
    """A month of calls of one instance.

    Attributes
    ----------
    calls_per_month : mapping of str to float
        By operation.
    key_share : ndarray, shape (keys,)
        Of each key in the instance's calls.
    """

    calls_per_month: Mapping[str, float]
    key_share: NDArray[np.float64]
