"""Billing meters, and the usage that a component's operations add to them.

Each line of the invoice is a *meter* (requests, CPU milliseconds, rows written, ...) with an amount used, an
amount that the plan includes, and a price for the rest. A meter names the platform facts that hold price and
inclusion; no price stands in a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DAYS_PER_MONTH = 30
SECONDS_PER_MONTH = DAYS_PER_MONTH * 86_400
SECONDS_PER_MINUTE = 60


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
        Keys of the platform facts that hold the price and the inclusion of the Paid plan; *included* is empty when
        there is none. A meter whose price the platform file does not hold is listed as unpriced.
    included_period : {"month", "day"}
        What the inclusion is for. One of a day is counted for each day of the month, as if all days were alike: what a
        quiet day leaves is lost, so a month of unlike days costs more.
    per : float
        Amount that the price buys.
    scale : str
        Key of a platform fact that an operation's amount is multiplied by; empty for none.
    once : bool
        Whether it is a fee of the whole account: billed once, however many instances move it.
    free : str
        Key of the platform fact that holds the Free plan's quota; empty, or absent from the file, when none is known.
    free_period : {"day", "month", "total"}
        What the quota is for: it starts anew each day or month, or bounds what is stored.
    counts_as : str
        Name of another meter on whose line the amounts are billed; empty for a line of its own. Twenty WebSocket
        messages are billed as one request of an object.
    divisor : str
        Key of the platform fact by which the amounts are divided on that line; empty for 1.
    active : bool
        Whether it counts seconds that a keyed instance is active: calls that overlap count once, and no instance is
        active for longer than the month.
    spending_limit : bool
        Whether the provider's spending limit counts it and stops it.
    call_limit : str
        Key of the platform fact, with its group, that bounds the amount of one call; empty for none.
    free_call_limit : str
        The same of the Free plan.
    stored_unit : float
        Amount on the line of one GB of ``stored_gb``: 1, or a billion where the line does not count GB but what is
        stored itself, such as dimensions.
    minimum : str
        Key of the platform fact that says for how many days at least what is stored is billed, even if it is replaced
        before; empty for none.
    replaces : str
        Name of the meter that billed the same before the day *since*; empty for none.
    since : str
        Key of the platform fact, with its group, that holds that day.
    said : str
        Path in a scenario of the number that it counts; for meters of which one replaces the other.
    assumed : str
        What its amount takes for granted, as a clause.
    read_as : str
        Name of another meter, in the same unit, which counts what is stored once a month if it is used at all: a corpus
        that is searched. Empty for none.
    """

    name: str
    unit: str
    price: str
    included: str = ""
    included_period: Literal["month", "day"] = "month"
    per: float = 1e6
    scale: str = ""
    once: bool = False
    free: str = ""
    free_period: Literal["day", "month", "total"] = "day"
    counts_as: str = ""
    divisor: str = ""
    active: bool = False
    spending_limit: bool = False
    call_limit: str = ""
    free_call_limit: str = ""
    stored_unit: float = 1.0
    minimum: str = ""
    replaces: str = ""
    since: str = ""
    said: str = ""
    assumed: str = ""
    read_as: str = ""

    @property
    def component(self) -> str:
        """The component whose line this is."""
        return self.name.partition(".")[0]

    @property
    def what(self) -> str:
        """What is counted."""
        return self.name.partition(".")[2]

    @property
    def rounding(self) -> str:
        """Key of the platform fact to whose multiples the amount beyond the inclusion is rounded up; 0: pro rata."""
        return f"{self.component}.rounding.{self.what}"


_HOME_KEYS = ("price", "included", "scale", "free", "divisor", "minimum")
"""Fields of a meter that name a fact of its component's pricing group."""


def meter(name: str, unit: str, **fields: Any) -> Meter:
    """Return a meter whose facts are in its component's pricing group.

    Parameters
    ----------
    name, unit : str
    **fields
        As :class:`Meter` has them; a fact is named without its group: ``price="class_a_standard_per_million"``.
    """
    home = f"{name.partition('.')[0]}.pricing"
    full: dict[str, Any] = {
        key: f"{home}.{value}" if key in _HOME_KEYS and value else value for key, value in fields.items()
    }
    full.setdefault("price", "")
    return Meter(name=name, unit=unit, **full)


def per_million(name: str, unit: str, *, fact: str, **fields: Any) -> Meter:
    """Return the usual meter: some are included each month, further millions cost; the Free plan has a daily quota.

    Facts ``FACT_included_month``, ``FACT_overage_per_million`` and ``FACT_free_per_day`` are its own unless *fields*
    name others.
    """
    usual = {
        "price": f"{fact}_overage_per_million",
        "included": f"{fact}_included_month",
        "free": f"{fact}_free_per_day",
    }
    return meter(name, unit, **{**usual, **fields})


def storage(name: str, **fields: Any) -> Meter:
    """Return the usual meter of stored bytes: some GB are included, each further GB costs by the month.

    Facts ``storage_overage_per_gb_month``, ``storage_gb_included`` and ``storage_gb_free`` are its own unless *fields*
    name others.
    """
    usual: dict[str, Any] = {
        "price": "storage_overage_per_gb_month",
        "included": "storage_gb_included",
        "free": "storage_gb_free",
        "free_period": "total",
        "per": 1.0,
    }
    return meter(name, "GB-month", **{**usual, **fields})


@dataclass(frozen=True)
class StorageLimit:
    """A bound of the platform on what is stored, which is reached one day if nothing is deleted.

    Attributes
    ----------
    meter : str
        The storage meter whose ``stored_gb`` fills it, whichever component's calls store them.
    fact : str
        Key of the platform fact that holds the bound, in bytes unless *unit* says another.
    what : str
        What is full when the bound is reached, with its article: ``"a database"``.
    per : {"instance", "key"}
        Whether an instance has it, or each keyed part of one, as an object.
    plan : {"paid", "free"}
        The provider's plan that it belongs to; a bound of both plans is one of the Paid plan.
    applies : callable or None
        ``(table) -> bool``: whether an instance with these numbers has it; None for always.
    room : callable or None
        ``(table, bound) -> float``: what may yet be stored, in bytes or in what the meter counts; None for the bound.
    unit : str
        Unit of the bound; empty for bytes.
    """

    meter: str
    fact: str
    what: str
    per: Literal["instance", "key"] = "instance"
    plan: Literal["paid", "free"] = "paid"
    applies: Callable[[Any], bool] | None = None
    room: Callable[[Any, float], float] | None = None
    unit: str = ""

    def left(self, table: Any, bound: float) -> float:
        """Return what an instance with these numbers may yet store under the *bound*."""
        return bound if self.room is None else self.room(table, bound)


@dataclass(frozen=True)
class Usage:
    """Amounts that are added to meters.

    Attributes
    ----------
    amounts : mapping of str to float
        Amount by meter, before the meter's *scale* is applied.
    stored_gb : mapping of str to float
        GB that are added to a storage meter and stay stored; billions of what it counts, where that is not GB.
    replaced_gb : mapping of str to float
        GB that take the place of others of the same size: the meter's minimum is billed for those.
    """

    amounts: Mapping[str, float] = field(default_factory=dict)
    stored_gb: Mapping[str, float] = field(default_factory=dict)
    replaced_gb: Mapping[str, float] = field(default_factory=dict)


NOTHING = Usage()


@dataclass(frozen=True)
class Runaway:
    """A failure in which an instance consumes billed resources without limit, such as an alarm that sets itself again.

    Attributes
    ----------
    name : str
        ``"alarm loop"``.
    sentence : str
        What happens then, as a clause without the instance's name.
    usage_per_s : callable
        ``(instance, fact) -> Usage``: its usage per second; *fact* returns a platform fact by its key.
    """

    name: str
    sentence: str
    usage_per_s: Callable[[Any, Callable[[str], float]], Usage]


GB = 1_000_000 * 1_000
"""Bytes that the bill counts as one GB."""


@dataclass(frozen=True)
class Call:
    """The properties of one call that its bill depends on.

    Attributes
    ----------
    parameters : Table
        The parameters that the step gives the operation.
    size_bytes : float
        Mean size of its request's body or answer.
    sizes_bytes : ndarray or None, shape (n,)
        Sizes that are equally likely; without them all are the mean.
    """

    parameters: Any
    size_bytes: float = 0.0
    sizes_bytes: "NDArray[np.float64] | None" = None

    def units(self, unit_bytes: float) -> float:
        """Return the mean number of units that a size takes, each begun unit counted, and at least one.

        >>> Call(None, 60_000.0).units(64_000), Call(None, 60_000.0, np.array([20_000.0, 100_000.0])).units(64_000)
        (1.0, 1.5)
        """
        sizes = np.array([self.size_bytes]) if self.sizes_bytes is None else self.sizes_bytes
        return float(np.maximum(np.ceil(sizes / unit_bytes), 1).mean())


@dataclass(frozen=True)
class Demand:
    """A month of calls of one instance.

    Attributes
    ----------
    calls_per_month : mapping of str to float
        By operation.
    key_share : ndarray, shape (keys,)
        Share of each key in the instance's calls.
    """

    calls_per_month: Mapping[str, float]
    key_share: NDArray[np.float64]
