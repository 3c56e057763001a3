"""A deterministic council without language models.

Real roles call a language model; these take their place in the reference. A hash of the question
decides in which round they agree, with the frequencies that the origin published: 78 % of questions
in the first round, 19 % in the second, the rest in the third or never.

Sources
-------
The origin's performance report (docs/GLOSSARY.md), rounds of 1,000 queries: 78 % one, 19 % two, 3 %
three; arbiter confidence 0.75.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

from reference_impl.synapse.consensus import ARBITER, ROLES, ROUNDS_MAX, Opinion, Session

Role = Callable[[Session], Awaitable[Opinion]]

AGREED_BY_ROUND = (0.78, 0.97, 0.99)
"""Share of questions that are agreed upon by the end of each round (cumulative)."""
SURE_SHARE, UNSURE_SHARE, ARBITER_SHARE = 0.92, 0.70, 0.75
VETO_WORD = "forbidden"
"""A question that contains this word is vetoed in every round."""


def agreed_in_round(prompt: str) -> int:
    """Return the round in which *prompt* will be agreed upon; one more than the last for never."""
    digest = hashlib.sha256(prompt.encode()).digest()
    chance = int.from_bytes(digest[:8]) / 2**64
    return 1 + sum(1 for share in AGREED_BY_ROUND if chance >= share)


async def pathos(session: Session) -> Opinion:
    """Interpret the question."""
    return _opinion(session, "pathos", f"asked: {session.prompt[:80]}")


async def logos(session: Session) -> Opinion:
    """Propose an answer."""
    adapter = f" with {session.lora_id}" if session.lora_id else ""
    return _opinion(
        session, "logos", f"answer {session.round_index}{adapter}", sources=(f"round-{session.round_index}",)
    )


async def ethos(session: Session) -> Opinion:
    """Approve or veto the answer."""
    has_veto = VETO_WORD in session.prompt
    return _opinion(session, "ethos", "no" if has_veto else "verified", has_veto=has_veto)


async def arbiter(session: Session) -> Opinion:
    """Decide a question that the rounds left open."""
    text = "no answer: vetoed" if VETO_WORD in session.prompt else f"decided after {ROUNDS_MAX} rounds"
    return Opinion(session.round_index, ARBITER, ARBITER_SHARE, text)


def _opinion(
    session: Session, role: str, text: str, *, has_veto: bool = False, sources: tuple[str, ...] = ()
) -> Opinion:
    is_sure = session.round_index >= agreed_in_round(session.prompt)
    confidence_share = SURE_SHARE if is_sure else UNSURE_SHARE
    return Opinion(session.round_index, role, confidence_share, text, has_veto=has_veto, sources=sources)


PUBLISHED_COUNCIL: Mapping[str, Role] = {**dict(zip(ROLES, (pathos, logos, ethos), strict=True)), ARBITER: arbiter}
"""A function for every role."""
