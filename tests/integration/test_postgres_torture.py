"""A randomised run through the whole product: writers, readers, and everything killed in turn.

`HEADRACE_TORTURE_SECONDS` says how long (a server version), `HEADRACE_TORTURE_SEED` with which seed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import dsn, server  # noqa: F401
from postgres_torture import Torture

SECONDS = float(os.environ.get("HEADRACE_TORTURE_SECONDS", "25"))
SEED = int(os.environ.get("HEADRACE_TORTURE_SEED", "1"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 300)
def test_at_every_quiet_point_the_live_tables_are_the_database(server, dsn, tmp_path):  # noqa: F811
    torture = Torture(server, dsn, tmp_path, SEED)
    torture.run(SECONDS)
    assert torture.points >= 2
    assert torture.watch.reads > 20
