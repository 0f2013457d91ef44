"""PostgreSQL: a database's commits as they happen. `source` is what users declare, `partition` what reads it.

From the outside in: `handoff` and `decision` (copy or go on), `copying` and `copywork` (the copy), `stream`, `assembly`
and `gather` (the stream), `pgoutput`, `copy` and `values` (bytes to values).
"""

from headrace.sources.postgres.source import Postgres

__all__ = ["Postgres"]
