"""PostgreSQL: a database's commits as they happen."""

from headrace.sources.postgres.source import Postgres

__all__ = ["Postgres"]
