"""The data layout of the compiled machine: instructions, state, flows of control, and pending events.

Everything is held in a few arrays of records, so that one compiled machine runs every Flow: a Flow is data.
"""

import numpy as np

NONE = -1
"""No token, no node, no instruction."""

# ---------------------------------------------------------------- instructions

(
    SEIZE, WAITED, SLEEP, SLEPT, SERVED, RELEASE, WORK, WORKED,
    JUMP, BRANCH, MATCH, GUARD, COUNT, RESET, MOVE, GATHER, MARK, LOOP, TURN, NEXT, UNLATCH,
    SPAWN, FORK, JOINED, HEDGE, HEDGED, ATTEMPT, TRY, TRIED, RETRY, END,
) = range(31)  # fmt: skip
"""Opcodes: those of queues and delays, those that take no time, those that start and end flows."""

FIRST_AT_ONCE, FIRST_JOIN = JUMP, SPAWN

INSTRUCTION = np.dtype(
    [
        ("op", "i8"),
        ("goto", "i8"),  # the other branch; the body of a flow that is started; another counter or stamp
        ("fail", "i8"),  # address at which servers are released before the flow ends
        ("category", "i8"),
        ("first", "i8"),  # state of instance 0: a server, a counter or stamp, a latch, a budget, a row of jumps
        ("instances", "i8"),
        ("level", "i8"),  # the waiting list of the priority, among those of the station
        ("time", "i8"),
        ("condition", "i8"),
        ("slot", "i8"),  # of a loop or a caller; of a step that spawns, the first of its counts
        ("timer_queue", "i8"),
        ("error", "i8"),
        ("attribute", "i8"),
        ("times", "i8"),  # retries, turns, or flows; instances of the other counter or stamp
        ("need", "i8"),  # successes; the most to be gathered, 0 for all
        ("jitter", "i8"),
        ("final", "i8"),  # one bit an outcome
        ("key", "u8"),
        ("amount", "f8"),  # a time-out, a rate, a number to count
        ("backoff_ms", "f8"),
        ("backoff_ms_max", "f8"),
    ],
    align=True,
)

CHANCE, IDLE, WAITING, COUNT_AT_LEAST, ATTRIBUTE_OVER, DURING, WITHIN, DRAINED = range(8)

CONDITION = np.dtype(
    [
        ("kind", "i8"),
        ("first", "i8"),
        ("instances", "i8"),
        ("attribute", "i8"),
        ("key", "u8"),
        ("low", "f8"),
        ("high", "f8"),
        ("windows", "i8"),  # first of its windows
        ("windows_count", "i8"),
    ],
    align=True,
)

CONSTANT, UNIFORM, EXPONENTIAL, LOGNORMAL, WEIBULL, PARETO, ERLANG, HYPEREXPONENTIAL, EMPIRICAL = range(9)
NO_ATTRIBUTE, KEY, SIZE_BYTES, TOKENS_IN, TOKENS_OUT, SINCE = range(6)

TIME = np.dtype(
    [
        ("kind", "i8"),
        ("draws", "i8"),
        ("a", "f8"),
        ("b", "f8"),
        ("c", "f8"),
        ("knots", "i8"),  # first of an empirical distribution's values
        ("knots_count", "i8"),
        ("scale", "f8"),
        ("each_ms", "f8"),
        ("first", "i8"),  # the counter that the time grows with, the stamp since which it runs, or NONE
        ("instances", "i8"),
        ("attribute", "i8"),  # the attribute that the time grows with; SINCE, if *first* is a stamp
        ("at_most", "f8"),
        ("key", "u8"),
        ("windows", "i8"),  # first of the windows in which it runs at another pace
        ("windows_count", "i8"),
    ],
    align=True,
)

WINDOW = np.dtype(
    [
        ("start_ms", "f8"),
        ("end_ms", "f8"),
        ("speed", "f8"),
        ("keys", "i8"),  # first of the keys that it concerns
        ("keys_count", "i8"),  # 0: all keys
        ("instances", "i8"),  # a key is taken modulo this number; 0: as it is
    ],
    align=True,
)

# ---------------------------------------------------------------- states

SERVER = np.dtype(
    [
        ("index", "i8"),  # its own place in the table
        ("servers", "i8"),
        ("free", "i8"),
        ("limit", "i8"),
        ("lists", "i8"),  # first of the waiting lists: one of what was gathered, then one a priority level
        ("levels", "i8"),
        ("newest_first", "i8"),
        ("released_ms", "f8"),
        ("idle_ms", "f8"),
        # the meter
        ("last_ms", "f8"),
        ("busy", "i8"),
        ("waiting", "i8"),
        ("busy_ms", "f8"),
        ("busy_total_ms", "f8"),
        ("queue_ms", "f8"),
        ("queue_total_ms", "f8"),
        ("waited_ms", "f8"),
        ("served", "i8"),
        ("refused", "i8"),
        # processor sharing
        ("clock_ms", "f8"),
        ("jobs", "i8"),
        ("present", "i8"),
        ("alarm", "i8"),
    ],
    align=True,
)
"""One instance of a station, or of a shared link."""

NUMBER = np.dtype([("value", "f8")])
INTEGER = np.dtype([("value", "i8")])
SHORT = np.dtype([("value", "i2")])
FLAG = np.dtype([("value", "i1")])
"""One cell of a plain column."""

LIST = np.dtype([("head", "i8"), ("tail", "i8")], align=True)
BUCKET = np.dtype([("tokens", "f8"), ("filled_ms", "f8"), ("burst", "f8"), ("per_ms", "f8")], align=True)
BUDGET = np.dtype([("left", "f8"), ("ratio", "f8"), ("burst", "f8")], align=True)

# ---------------------------------------------------------------- flows of control

MAIN, CHILD, FOLLOWER = range(3)

TOKEN = np.dtype(
    [
        ("request", "i8"),
        ("context", "u8"),
        ("index", "i8"),  # its own place in the table
        ("pc", "i8"),  # where it goes on when it wakes
        ("kind", "i8"),
        ("next", "i8"),  # in a waiting list, or among the free tokens
        ("error", "i8"),
        ("began_ms", "f8"),
        ("duration_ms", "f8"),
        # where a child reports to; of a follower, branch is the first of the counts of its step
        ("parent", "i8"),
        ("branch", "i8"),
        ("parent_join", "i8"),
        # the join that the token itself waits for; 0 when that is decided
        ("join", "i8"),
        ("decided_by", "i8"),  # the branch of a child, or NONE for a time-out
        ("flows", "i8"),
        ("need", "i8"),
        ("failures", "i8"),
        ("successes", "i8"),
        # a job of a processor-sharing server, in a skew heap
        ("end_ms", "f8"),
        ("order", "i8"),
        ("left", "i8"),
        ("right", "i8"),
    ],
    align=True,
)
"""One flow of control: a request, one of its attempts, or a spawned follower."""

FRAME = np.dtype([("context", "u8"), ("number", "i8")], align=True)
"""The state of a loop, or of a caller that retries."""

# ---------------------------------------------------------------- what is still to happen

WAKE, ALARM, TIMEOUT, ARRIVE, ANSWERED = range(5)

EVENT = np.dtype([("time_ms", "f8"), ("sequence", "i8"), ("kind", "i8"), ("index", "i8")], align=True)
TIMER = np.dtype([("time_ms", "f8"), ("sequence", "i8"), ("join", "i8"), ("token", "i8"), ("next", "i8")], align=True)

TABLES = (
    "code", "jumps", "conditions", "times", "knots", "windows", "window_keys",
    "servers", "lists", "counters", "latches", "buckets", "budgets", "timer_queues",
    "route", "key", "size_bytes", "tokens_in", "tokens_out", "arrival_ms", "think_ms", "next_request",
    "latency_ms", "outcome", "attempts", "attributed_ms", "followers",
    "events", "timers", "soon", "urgent", "tokens", "frames", "accumulators",
)  # fmt: skip
"""The Flow; its state; the requests; the record; what grows with the requests under way."""

WORLD = np.dtype(
    [
        ("now_ms", "f8"),
        ("end_ms", "f8"),  # the last time-out, stale ones included
        ("horizon_ms", "f8"),
        ("sequence_last", "i8"),  # they order what happens at one instant
        ("arrival_ms_next", "f8"),
        ("arrival_sequence", "i8"),
        ("arrived", "i8"),
        ("requests", "i8"),
        ("categories", "i8"),
        ("slots", "i8"),
        ("starts_max", "i8"),  # most tokens that one instruction starts
        ("closed", "i8"),
        ("events_count", "i8"),
        ("events_room", "i8"),
        ("soon_head", "i8"),
        ("soon_count", "i8"),
        ("soon_room", "i8"),
        ("urgent_head", "i8"),
        ("urgent_count", "i8"),
        ("urgent_room", "i8"),
        ("free_token", "i8"),
        ("free_tokens", "i8"),
        ("free_timer", "i8"),
        ("running", "i8"),
        *((name, "i8") for name in TABLES),
    ],
    align=True,
)
"""The clock, and where everything lies."""
