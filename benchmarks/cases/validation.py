"""What judging a record costs: the good path, and records that break their contract."""

from __future__ import annotations

from harness.figures import Result
from harness.process import measure
from harness.setting import Setting

KINDS = {
    "good_lines": "good records, NDJSON",
    "good_array": "good records, JSON array",
    "one_bad": "one bad record a batch",
    "all_bad": "all records bad",
}


def run(setting: Setting) -> Result:
    """Judging alone, in memory, on one core."""
    result = Result("validation")
    records, batches = setting.pick((1_000, 10), (1_000, 100))
    found = measure("workers/validation.py", records, batches, core=setting.core)
    for kind, label in KINDS.items():
        shown = {"peer": found["pydantic"], "peer_name": "Pydantic"}
        result.add(label, found[kind], "us/record", better="less", **shown)
    result.notes.append(
        f"Batches of {records:,}; six columns, two constraints. Pydantic: model_validate_json line by line,"
        " good records, without making stored rows of them."
    )
    return result
