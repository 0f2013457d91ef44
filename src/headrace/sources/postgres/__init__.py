"""PostgreSQL: a database's commits as they happen."""
