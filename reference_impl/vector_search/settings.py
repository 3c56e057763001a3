"""The settings of an index, read from its table in the deployment file."""

from dataclasses import dataclass

from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

DIMENSIONS_DEFAULT = 384


@dataclass(frozen=True)
class IndexSettings:
    """Settings of an index; a bound of None: none; *searches* None: any number at a time.

    A search lasts ``query_ms`` times *time_ratio*, which grows with the stored dimensions: a search of this process
    compares fewer vectors than the corpus has, so its length is the corpus's.
    """

    is_local: bool
    rtt_ms: Tape
    dimensions: int
    vectors: int
    query_ms: Tape
    time_ratio: float
    insert_ms: Tape
    insert_vector_ms: float
    visible_ms: float
    searches: int | None
    queue_limit: int | None
    document_bytes: float
    answer_vectors_max: int | None
    answer_vectors_max_with_values: int | None
    batch_vectors_max: int | None

    @classmethod
    def read(cls, table: Table) -> "IndexSettings":
        """Read the table of an index.

        Raises
        ------
        ConfigError
            If it takes no such dimensions, or not as many vectors.
        """
        dimensions = table.whole("dimensions", DIMENSIONS_DEFAULT, at_least=1)
        vectors = table.whole("vectors", 1, at_least=1)
        for key, value in (("dimensions", dimensions), ("vectors", vectors)):
            most = table.count(f"{key}_max")
            if most is not None and value > most:
                raise ConfigError(f"{table.where(key)}={value} must be <= {most}, its {key}_max")
        measured_at = table.number("query_at_dimensions", dimensions * vectors) or 1.0
        return cls(
            is_local=table.choice("index", "vectorize", choices=("vectorize", "local")) == "local",
            rtt_ms=table.tape("rtt_ms"),
            dimensions=dimensions,
            vectors=vectors,
            query_ms=table.tape("query_ms"),
            time_ratio=(dimensions * vectors / measured_at) ** table.number("query_exponent", 0, at_most=2),
            insert_ms=table.tape("insert_ms"),
            insert_vector_ms=table.number("insert_vector_ms", 0),
            visible_ms=table.number("visible_s", 0) * 1_000,
            searches=table.count("searches", or_word="elastic"),
            queue_limit=table.count("queue_limit", at_least=0),
            document_bytes=table.number("document_bytes", 0),
            answer_vectors_max=table.count("answer_vectors_max"),
            answer_vectors_max_with_values=table.count("answer_vectors_max_with_values"),
            batch_vectors_max=table.count("batch_vectors_max"),
        )
