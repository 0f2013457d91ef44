"""What lies beside the tests and is no test: programs that they start, and parts that only some of them can import."""

from __future__ import annotations

collect_ignore = ["postgres_torture.py", "postgres_torture_app.py"]
