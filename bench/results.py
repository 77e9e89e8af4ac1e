# SPDX-License-Identifier: MIT
"""Reads the JSON that bench/measure.py writes."""

import json

BASE = "concurrent"
FALLBACK = "concurrent_fallback"  # the same where the system has no membarrier

# The order in which they are run and shown.
PROGRAMS = ["submit_get", "detached", "producers", "round_trip", "nested", "skynet", "nqueens",
            "burst", "pending", "idle", "lifecycle", "oversubscribed", "compile"]
PEERS = [BASE, FALLBACK, "serial", "futex", "textbook", "tbb", "asio", "eigen", "openmp", "std_par"]

# What Google Benchmark itself puts into a row; all else are the workload's own figures.
FIXED = set("""name family_index per_family_instance_index run_name run_type repetitions threads
    aggregate_name aggregate_unit iterations real_time cpu_time time_unit repetition_index""".split())


class Row:
    """workload/peer/parameter:value/..., with the medians of its figures."""

    def __init__(self, entry):
        parts = entry["run_name"].split("/")
        self.workload, self.peer = parts[0], parts[1]
        self.parameters = dict(part.split(":") for part in parts[2:] if ":" in part)
        self.figures = {key: value for key, value in entry.items() if key not in FIXED}

    def place(self):
        program = self.workload.removesuffix("_loop")
        return (PROGRAMS.index(program) if program in PROGRAMS else len(PROGRAMS), self.workload,
                PEERS.index(self.peer) if self.peer in PEERS else len(PEERS), self.peer,
                [int(value) for value in self.parameters.values()])


def load(path):
    """The whole of the JSON, and its rows."""
    with open(path, encoding="utf-8") as file:
        whole = json.load(file)
    rows = [Row(entry) for entry in whole["benchmarks"]]
    return whole, sorted(rows, key=lambda row: row.place())


def cases_of(rows):
    """The rows of one workload by case: the parameters that vary for one peer, as in
    'workers:2'. What does not vary is a size, which a slow peer may have smaller."""
    values = {}
    for row in rows:
        for key, value in row.parameters.items():
            values.setdefault(key, {}).setdefault(row.peer, set()).add(value)
    varying = [key for key, by_peer in values.items() if any(len(v) > 1 for v in by_peer.values())]

    cases = {}
    for row in rows:
        case = tuple((key, row.parameters[key]) for key in varying if key in row.parameters)
        cases.setdefault(case, {})[row.peer] = row
    # A peer without workers belongs to every number of them.
    for case in [case for case in cases if "workers" in dict(case)]:
        rest = tuple(pair for pair in case if pair[0] != "workers")
        for peer, row in cases.get(rest, {}).items():
            if "workers" not in row.parameters:
                cases[case].setdefault(peer, row)
    return {case: by_peer for case, by_peer in cases.items()
            if "workers" not in varying or "workers" in dict(case)}


def is_time(figure):
    return "seconds" in figure


def show(figure, value):
    """A figure with its unit, three digits."""
    if not is_time(figure):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 0.9995:
            break
    else:
        unit, factor = "ns", 1e9
    scaled = value * factor
    return f"{scaled:.0f} {unit}" if scaled >= 99.95 else f"{scaled:.3g} {unit}"
