"""A usage event as a client sends it: read from JSON, every field checked."""

from reference_impl.ledger.charge import PRICE_MICROUSD_PER_TOKEN, Usage
from reference_impl.ledger.policy import UsageEvent
from reference_impl.validation import json_object, known_fields, name, refuse, whole_number

TOKENS_MAX = 10_000_000
"""Tokens in one event; no model reads or writes more at once."""


DATE_MS_MAX = 4_102_444_800_000
"""The year 2100: a later date is a unit mistaken."""


def usage_event(body: bytes) -> UsageEvent:
    """Read the body of ``POST /log``.

    Raises
    ------
    RequestError
        400, if any field is missing, unknown or outside its rule.
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
