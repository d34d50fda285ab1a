"""What a crowd needs of each part, by calculation from measured costs, and where that part gives out."""

from dataclasses import dataclass
from math import ceil

from bench.simulation import Cost


@dataclass(frozen=True)
class Measured:
    """What things cost here, from docs/results/."""

    cost: Cost
    """Of a step of the engine (trace.json)."""
    sequences: int
    """Answers at once up to which the engine was measured (serve.json)."""
    gateway_piece_s: float
    """Processor time of the gateway for a streamed token (serve.json)."""
    slot_mib: float
    """Memory of a slot at the largest rank (slots.json)."""
    engine_mib: float
    """Memory of the engine with 8 slots (slots.json)."""
    publish_s: float
    """A publish after another (publishes.json)."""
    vote_s: float
    """A battle and its vote, until both are on disk (measured by this bench)."""
    kv_bytes: float
    """Of one remembered token, from the base's shape."""


@dataclass(frozen=True)
class Assumed:
    """What nobody measured. Change it to what you know of your crowd."""

    think_s: float = 60.0
    """From an answer to the next question of the same person."""
    skew: float = 1.0
    """Zipf's exponent of the personas' popularity."""
    headroom: float = 0.7
    """Share of what an engine can do that is planned with; beyond it, queues grow quickly."""
    battles: float = 0.05
    """Battles with a vote, for each answer."""
    hub_requests: float = 1000.0
    """API requests that the Hub allows a free user in five minutes (huggingface.co/docs/hub/rate-limits, read in a copy
    of 2026-09-20)."""
    publishes_a_day: float = 0.2
    """New revisions of a persona."""


@dataclass(frozen=True)
class Limits:
    """What one of each can do, as we ship it."""

    max_concurrent: int
    """UNDERSTUDY_MAX_CONCURRENT."""
    hub_poll_s: float
    """UNDERSTUDY_HUB_POLL."""
    slots: int
    """Slots of an engine when there are many personas."""
    kv_mib: float
    """Memory that vLLM gets for what it remembers."""


@dataclass(frozen=True)
class Crowd:
    """Who comes. Everybody here talks; of registered users, a tenth at once is already much."""

    users: int
    personas: int
    prompt: float
    """Tokens of a prompt, at the mean."""
    answer: float
    """Tokens of an answer, at the mean."""


@dataclass(frozen=True)
class Need:
    """One part."""

    part: str
    need: float
    limit: float
    """Of one; of engines there can be more."""
    unit: str
    grows_with: str
    """`users` or `personas`, in proportion; empty: neither, with as many engines as are needed."""
    remedy: str

    @property
    def share(self) -> float:
        """Of the limit that is needed; above 1 it breaks."""
        return self.need / self.limit


@dataclass(frozen=True)
class Sized:
    """The engines for a crowd."""

    answers_per_second: float
    in_flight: float
    """Answers under way, by Little's law."""
    answer_s: float
    tokens_per_second: float
    engines: float
    """That would be busy for the planned share of their time."""
    replicas: int
    """That many, rounded up."""
    personas_in_flight: float
    """Distinct ones, everywhere together."""
    personas_per_replica: float
    """Distinct ones at once on one replica, when requests are sent anywhere."""


def popularity(personas: int, skew: float) -> list[float]:
    """Shares of Zipf's law."""
    weights = [rank**-skew for rank in range(1, personas + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def distinct(shares: list[float], requests: float) -> float:
    """Distinct personas expected among so many independent requests."""
    return sum(1 - (1 - share) ** requests for share in shares)


def answers_per_second(cost: Cost, crowd: Crowd, batch: int, adapters: float) -> float:
    """What one engine does with `batch` answers at once: their tokens take steps, and their prompts are read."""
    step = cost.seconds(batch, 0) + cost.adapter * adapters
    return 1 / (crowd.answer * step / batch + crowd.prompt * cost.prompt)


def size(crowd: Crowd, measured: Measured, assumed: Assumed, limits: Limits) -> Sized:
    """The engines that a crowd needs with some headroom, and what is under way then."""
    shares = popularity(crowd.personas, assumed.skew)
    full, cost = measured.sequences, measured.cost
    usual = max(1, round(assumed.headroom * full))
    adapters = min(limits.slots, distinct(shares, usual))
    best = answers_per_second(cost, crowd, full, min(limits.slots, distinct(shares, full)))
    step = cost.seconds(usual, 0) + cost.adapter * adapters
    answer_s = cost.overhead + crowd.prompt * cost.prompt + crowd.answer * step
    rate = crowd.users / (assumed.think_s + answer_s)
    engines = rate / (assumed.headroom * best)
    replicas = ceil(engines)
    in_flight = rate * answer_s
    return Sized(
        answers_per_second=rate,
        in_flight=in_flight,
        answer_s=answer_s,
        tokens_per_second=rate * crowd.answer,
        engines=engines,
        replicas=replicas,
        personas_in_flight=distinct(shares, in_flight),
        personas_per_replica=distinct(shares, in_flight / replicas),
    )


def needs(crowd: Crowd, sized: Sized, measured: Measured, assumed: Assumed, limits: Limits) -> list[Need]:
    """Each part with what it must do and what it can, the one that breaks first first."""
    per_replica = sized.in_flight / sized.replicas
    kv = per_replica * (crowd.prompt + crowd.answer) * measured.kv_bytes / 2**20
    publishing = crowd.personas * assumed.publishes_a_day * measured.publish_s
    parts = [
        Need("one engine", sized.engines, 1, "engine", "users", "more replicas: deploy/ray, deploy/k8s"),
        Need(
            *("answers at once in the gateway", sized.in_flight, limits.max_concurrent, "answers", "users"),
            "UNDERSTUDY_MAX_CONCURRENT; beyond it people get 429 and a time to come back",
        ),
        Need(
            *("gateway's process", sized.tokens_per_second * measured.gateway_piece_s, 1, "core", "users"),
            "a gateway for each group of personas; answers in one piece (`stream: false`) cost it a quarter",
        ),
        Need(
            *("memory of what is remembered, an engine", kv, limits.kv_mib, "MiB", ""),
            "more memory for it, more replicas, or shorter contexts (UNDERSTUDY_MAX_MODEL_LEN)",
        ),
        Need(
            *("votes in SQLite", sized.answers_per_second * assumed.battles, 1 / measured.vote_s, "votes/s", "users"),
            "PostgreSQL (UNDERSTUDY_DATABASE_URL); more than one Space needs it anyway",
        ),
        Need(
            *("slots of an engine, sent anywhere", sized.personas_per_replica, limits.slots, "personas", ""),
            "UNDERSTUDY_SLOTS, or requests sent where their adapter is",
        ),
        Need(
            *("asking the Hub", crowd.personas * 300 / limits.hub_poll_s, assumed.hub_requests, "in 5 min", "personas"),
            "webhooks, and UNDERSTUDY_HUB_POLL of minutes as a net beneath them",
        ),
        Need(
            *("publishes, one after another", publishing / 86400, 1, "day a day", "personas"),
            "nothing to do",
        ),
    ]
    return sorted(parts, key=lambda part: -part.share)
