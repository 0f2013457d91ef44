"""Run the benchmarks: a table on the screen, one JSON file each in `benchmarks/results`.

    make bench                                  all of them
    make bench BENCH_ARGS="ingest rollup"       some
    make bench BENCH_ARGS="--quick"             small sizes: does everything work?

See docs/reference/benchmarks.md for what each measures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from cases import ALL
from harness import machine, table
from harness.figures import Result
from harness.setting import BENCHMARKS, ROOT, Setting


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 when a benchmark could not run, 2 when a target was missed at full size."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:12} {what}" for name, (what, _) in ALL.items()))
        return 0
    unknown = set(options.names) - set(ALL)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 1
    setting = _setting(options)
    try:
        return _run(setting, options.names or list(ALL), options.results)
    finally:
        if not options.keep:
            shutil.rmtree(setting.work, ignore_errors=True)


def _run(setting: Setting, names: list[str], folder: Path) -> int:
    facts = machine.inspect(setting.work)
    context = {
        "machine": machine.to_dict(facts),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "size": setting.size,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    results, failed = [], []
    for name in names:
        print(f"{name}: {ALL[name][0]} ...", file=sys.stderr, flush=True)
        try:
            results.append(_one(setting, name))
        # One benchmark that cannot run (no index to install from, no peer) must not hide the others.
        except Exception as error:
            failed.append(name)
            print(f"{name} could not run: {error}", file=sys.stderr)
            continue
        if setting.size != "quick":
            results[-1].write(folder, context)
    table.show(results, facts, quick=setting.size == "quick")
    missed = [figure for result in results for figure in result.figures if figure.met is False]
    return 1 if failed else 2 if missed and setting.size != "quick" else 0


def _one(setting: Setting, name: str) -> Result:
    load, pace, began = machine.load(), machine.pace(), time.monotonic()
    result = ALL[name][1](setting)
    result.seconds = round(time.monotonic() - began, 1)
    result.load_before, result.load_after = load, machine.load()
    result.pace_before, result.pace_after = pace, machine.pace()
    return result


def _setting(options: argparse.Namespace) -> Setting:
    size = "quick" if options.quick else "full" if options.full else "normal"
    work = Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    repeats = options.repeats or (1 if options.quick else 3)
    return Setting(size=size, peers=not options.no_peers, work=work, core=cores[-1], repeats=repeats)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="which benchmarks; all if none is given")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each, no JSON: not for quoting")
    parser.add_argument("--full", action="store_true", help="also what takes many minutes (memory: 5 minutes of reads)")
    parser.add_argument("--no-peers", action="store_true", help="leave Pathway and Feast out")
    parser.add_argument("--repeats", type=int, help="how often alternating measurements are repeated (3)")
    parser.add_argument("--work", default=ROOT / ".bench", help="where stores are written; must be a real disk")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results", help="where the JSON files go")
    parser.add_argument("--keep", action="store_true", help="keep the work folder")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
