"""Feast: a repository of 25 feature views of 10 integers over one entity, filled in its SQLite online store.

Writes `feature_store.yaml`, registers the views and the services `service_50` and `service_250`, and writes the rows
with `write_to_online_store`. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import pandas as pd
import workload
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
from feast.types import Int64
from feast.value_type import ValueType

VIEWS, WIDTH = 25, 10

YAML = """\
project: bench
provider: local
registry: registry.db
online_store:
  type: sqlite
  path: online.db
entity_key_serialization_version: 3
"""


def main(folder: Path, entities: int) -> None:
    (folder / "feature_store.yaml").write_text(YAML)
    began = time.perf_counter()
    store = FeatureStore(repo_path=str(folder))
    entity = Entity(name="entity", join_keys=["entity"], value_type=ValueType.INT64)
    rows = pd.DataFrame(
        list(workload.features(entities, VIEWS * WIDTH)), columns=[f"f{n}" for n in range(VIEWS * WIDTH)]
    )
    rows["entity"] = range(entities)
    rows["event_timestamp"] = datetime.now(UTC)
    rows.head(10).to_parquet(folder / "source.parquet")
    source = FileSource(path=str(folder / "source.parquet"), timestamp_field="event_timestamp")
    views = [
        FeatureView(
            name=f"view_{number}",
            entities=[entity],
            ttl=timedelta(days=30),
            schema=[Field(name=f"f{number * WIDTH + n}", dtype=Int64) for n in range(WIDTH)],
            source=source,
            online=True,
        )
        for number in range(VIEWS)
    ]
    services = [FeatureService(name=f"service_{n * WIDTH}", features=views[:n]) for n in (5, VIEWS)]
    store.apply([entity, *views, *services])
    for view in views:
        names = [field.name for field in view.features]
        store.write_to_online_store(view.name, df=rows[["entity", "event_timestamp", *names]])
    print(json.dumps({"seconds": time.perf_counter() - began, "version": feast.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
