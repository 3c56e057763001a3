"""The consensus rule of a council: weights, threshold, veto, rounds, and a final arbiter.

::

    round ──► pathos (what is meant) ──► logos (a solution) ──► ethos (may it be said?) ──► score
      ▲                                                                                       │
      └────────── feedback, at most three rounds ◄── below 0.85, or a veto ◄──────────────────┤
                                       then the arbiter ──► arbitrated                        └──► agreed

The roles are functions that are passed in; this module calls no language model. The rule is a pure state machine:
:func:`next_step` returns the role to ask next, :func:`with_opinion` the session after its answer. So an interrupted
council resumes from its stored session.

Sources
-------
The origin's council (docs/GLOSSARY.md): weights 0.2, 0.4, 0.4; threshold 0.85; at most 3 rounds; a veto
makes the score 0; an arbiter with confidence 0.75 decides what the rounds did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

ROLES = ("pathos", "logos", "ethos")
ARBITER = "arbiter"
WEIGHTS: Mapping[str, float] = {"pathos": 0.2, "logos": 0.4, "ethos": 0.4}
"""They add up to 1."""
THRESHOLD_SHARE = 0.85
ROUNDS_MAX = 3
SCORE_DIGITS = 9
"""Digits to which scores are rounded before comparison, so that three confidences of 0.85 give exactly 0.85."""


@dataclass(frozen=True)
class Opinion:
    """The opinion of one role in one round.

    Parameters
    ----------
    round_index
        The round, from 1.
    role
        One of :data:`ROLES`, or the arbiter.
    confidence_share
        Its confidence, 0 to 1.
    text
        An interpretation, a solution or an objection.
    has_veto
        Whether it vetoes the answer.
    sources
        The sources that it cites.
    """

    round_index: int
    role: str
    confidence_share: float
    text: str
    has_veto: bool = False
    sources: Sequence[str] = ()


@dataclass(frozen=True)
class Session:
    """One question and the opinions on it so far.

    Parameters
    ----------
    request_id
        Chosen by the client; the same id again is the same question.
    prompt
        The question.
    lora_id
        The adapter that the roles are to use, if any.
    opinions
        All opinions so far, in order.
    status
        ``running``, ``agreed`` or ``arbitrated``.
    """

    request_id: str
    prompt: str
    lora_id: str | None = None
    opinions: Sequence[Opinion] = field(default_factory=tuple)
    status: str = "running"

    @property
    def round_index(self) -> int:
        """The current round, from 1; the arbiter follows the last one."""
        return 1 + sum(1 for opinion in self.opinions if opinion.role == ROLES[-1])

    @property
    def feedback(self) -> str:
        """Feedback for the next round: what logos and ethos said in the last one."""
        last = self._of_round(self.round_index - 1)
        return "; ".join(f"{opinion.role}: {opinion.text}" for opinion in last if opinion.role != "pathos")

    @property
    def response(self) -> str | None:
        """The answer, or None while the session is running."""
        if self.status == "running":
            return None
        speaker = ARBITER if self.status == "arbitrated" else "logos"
        return next(opinion.text for opinion in reversed(self.opinions) if opinion.role == speaker)

    @property
    def score_share(self) -> float:
        """The score of the last complete round, or the arbiter's confidence."""
        if self.status == "arbitrated":
            return self.opinions[-1].confidence_share
        return score_share(self._of_round(self.round_index - 1))

    @property
    def sources(self) -> list[str]:
        """All cited sources, without duplicates, in order."""
        return list(dict.fromkeys(source for opinion in self.opinions for source in opinion.sources))

    def _of_round(self, round_index: int) -> list[Opinion]:
        return [opinion for opinion in self.opinions if opinion.round_index == round_index]


def score_share(opinions: Sequence[Opinion], weights: Mapping[str, float] = WEIGHTS) -> float:
    """Return the weighted mean confidence of one round, 0 to 1; a veto makes it 0."""
    if any(opinion.has_veto for opinion in opinions):
        return 0.0
    return round(sum(weights[opinion.role] * opinion.confidence_share for opinion in opinions), SCORE_DIGITS)


def next_step(session: Session) -> str | None:
    """Return the role to ask next; None if the session is over."""
    if session.status != "running":
        return None
    if session.round_index > ROUNDS_MAX:
        return ARBITER
    spoken = {opinion.role for opinion in session.opinions if opinion.round_index == session.round_index}
    return next(role for role in ROLES if role not in spoken)


def with_opinion(session: Session, opinion: Opinion) -> Session:
    """Return the session after *opinion*, which must be of the role that :func:`next_step` names."""
    assert opinion.role == next_step(session), "only who was asked speaks"
    after = replace(session, opinions=(*session.opinions, opinion))
    if opinion.role == ARBITER:
        return replace(after, status="arbitrated")
    if opinion.role == ROLES[-1] and after.score_share >= THRESHOLD_SHARE:
        return replace(after, status="agreed")
    return after
