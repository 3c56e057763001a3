"""Parsing of a usage event from a client's JSON, with a check of every field.

Sources
-------
The payment provider whose meter the ledger feeds takes meter events dated within the past 35 calendar days and at most
five minutes in the future; outside of that a date is an error of the sender.
"""

from reference_impl.ledger.charge import PRICE_MICROUSD_PER_TOKEN, Usage
from reference_impl.ledger.policy import UsageEvent
from reference_impl.validation import json_object, known_fields, name, refuse, whole_number

TOKENS_MAX = 10_000_000
"""Largest number of tokens in one event, above what any model reads or writes at once."""

DATE_MS_MAX = 4_102_444_800_000
"""The year 2100: a later date is in the wrong unit."""

DATE_BACK_MS_MAX = 35 * 86_400_000
DATE_AHEAD_MS_MAX = 5 * 60_000
"""How far an event's date may lie before and after its receipt."""


def usage_event(body: bytes) -> UsageEvent:
    """Parse and check the body of ``POST /log``.

    Raises
    ------
    RequestError
        400, if a field is missing, unknown or invalid.
    """
    fields = json_object(body)
    known = ("event_id", "organization_id", "user_id", "model")
    numbers = {"tokens_in": TOKENS_MAX, "tokens_out": TOKENS_MAX, "event_time_ms": DATE_MS_MAX}
    known_fields(fields, (*known, *numbers))
    event_id, organization_id, user_id, model = (name(key, fields.get(key)) for key in known)
    if model not in PRICE_MICROUSD_PER_TOKEN:
        refuse("model", model, rule=f"must be one of {', '.join(PRICE_MICROUSD_PER_TOKEN)}")
    tokens_in, tokens_out, event_time_ms = (
        whole_number(key, fields.get(key), at_most=at_most) for key, at_most in numbers.items()
    )
    return UsageEvent(event_id, organization_id, user_id, Usage(model, tokens_in, tokens_out, event_time_ms))


def check_date(event_time_ms: int, received_ms: int) -> None:
    """Refuse an event whose date is too far from the time of its receipt.

    Without this rule a client dates its usage back, a month at a time, and has each month's free usage at once; and
    seconds sent as milliseconds land in January 1970.

    Raises
    ------
    RequestError
        400, if the date lies more than 35 days before or 5 minutes after *received_ms*.
    """
    if not received_ms - DATE_BACK_MS_MAX <= event_time_ms <= received_ms + DATE_AHEAD_MS_MAX:
        rule = f"must be milliseconds since 1970, at most 35 days before and 5 minutes after now ({received_ms})"
        refuse("event_time_ms", event_time_ms, rule=rule)
