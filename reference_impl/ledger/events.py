"""Parsing of a usage event from a client's JSON, with a check of every field."""

from reference_impl.ledger.charge import PRICE_MICROUSD_PER_TOKEN, Usage
from reference_impl.ledger.policy import UsageEvent
from reference_impl.validation import json_object, known_fields, name, refuse, whole_number

TOKENS_MAX = 10_000_000
"""Largest number of tokens in one event, above what any model reads or writes at once."""


DATE_MS_MAX = 4_102_444_800_000
"""The year 2100: a later date is in the wrong unit."""


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
