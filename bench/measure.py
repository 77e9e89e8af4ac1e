#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the bench programs one after another and gathers what they say into one JSON.

    python3 bench/measure.py BUILD OUT.json [--quick] [WORKLOAD...]

The JSON has Google Benchmark's rows (of the medians), the machine, and for each program its
calibration and `foreign`: the share of the machine that went to other processes meanwhile.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import results

ROOT = pathlib.Path(__file__).resolve().parents[1]

LONGEST = 240  # seconds for one program; one that takes longer hangs


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine(build):
    cache = (build / "CMakeCache.txt").read_text()
    compiler = next(line.split("=", 1)[1] for line in cache.splitlines()
                    if line.startswith("CMAKE_CXX_COMPILER:"))
    cpu = next((line.split(":", 1)[1].strip() for line in output_of("lscpu").splitlines()
                if line.startswith("Model name")), platform.machine())
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    changed = output_of("git", "status", "--porcelain", "--", "include", "bench")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "compiler": output_of(compiler, "--version").split("\n")[0],
        "compiler_path": compiler,
        "commit": commit + (" (changed)" if changed else ""),
        "date": datetime.date.today().isoformat(),
    }


def busy_ticks():
    """What all processes together have taken of the processors, in ticks."""
    try:
        fields = [int(field) for field in
                  pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except OSError:
        return 0
    user, nice, system, _idle, _wait, irq, softirq, steal = fields[:8]
    return user + nice + system + irq + softirq + steal


def run(command, environment):
    """Runs it. Returns how it ended, its seconds, and the share that others had of the machine."""
    ticks, begin = busy_ticks(), time.monotonic()
    before = os.times()
    try:
        ended = subprocess.run(command, env={**os.environ, **environment},
                               timeout=LONGEST).returncode
    except subprocess.TimeoutExpired:
        ended = "time limit"
    seconds, after = time.monotonic() - begin, os.times()
    own = (after.children_user + after.children_system - before.children_user -
           before.children_system)
    busy = (busy_ticks() - ticks) / os.sysconf("SC_CLK_TCK")
    return ended, seconds, max(0.0, busy - own) / (seconds * (os.cpu_count() or 1))


def has_fallback(workload):
    """Whether the library has another mode here, and that can matter."""
    return sys.platform == "linux" and workload != "compile"


def as_fallback(row):
    """A row of this library as one of another peer, which stands for the other mode."""
    return {**row, **{key: row[key].replace(f"/{results.BASE}", f"/{results.FALLBACK}", 1)
                      for key in ("name", "run_name")}}


def measure(arguments, workload, is_fallback, machine):
    """Runs one program: how it ended, its seconds, the share of others, and its JSON."""
    folder = arguments.out.parent / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{workload}{'_fallback' if is_fallback else ''}.json"
    out.unlink(missing_ok=True)
    environment = {"BENCH_DIVIDE": "10" if arguments.quick else "1"}
    repetitions = 3 if arguments.quick or workload in ("idle", "pending") else 7
    if workload == "compile":
        command = [sys.executable, ROOT / "bench/workloads/compile.py", "--out", out,
                   "--rounds", str(2 if arguments.quick else 9),
                   "--compiler", machine["compiler_path"]]
    else:
        # Interleaved, so that a slow minute of the machine hits all peers.
        command = [arguments.build / "bench" / f"bench_{workload}",
                   f"--benchmark_repetitions={repetitions}", "--benchmark_min_time=0.01",
                   "--benchmark_enable_random_interleaving=true",
                   "--benchmark_display_aggregates_only=true",
                   f"--benchmark_out={out}", "--benchmark_out_format=json"]
    if is_fallback:
        command.append(f"--benchmark_filter=/{results.BASE}/")
        environment["CONCURRENT_NO_MEMBARRIER"] = "1"
    ended, seconds, foreign = run(command, environment)
    return ended, seconds, foreign, json.loads(out.read_text()) if ended == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("workloads", nargs="*")
    arguments = parser.parse_intermixed_args()

    whole = {"machine": machine(arguments.build), "quick": arguments.quick, "programs": {},
             "benchmarks": []}
    failed = []
    for workload in arguments.workloads or results.PROGRAMS:
        for is_fallback in (False, True) if has_fallback(workload) else (False,):
            print(f"\n== {workload}{' without membarrier' if is_fallback else ''}", flush=True)
            ended, seconds, foreign, result = measure(arguments, workload, is_fallback, whole["machine"])
            if ended != 0:
                failed.append(f"{workload}: {ended}")
                continue
            rows = [row for row in result["benchmarks"] if row.get("aggregate_name") == "median"]
            whole["benchmarks"] += map(as_fallback, rows) if is_fallback else rows
            if not is_fallback:
                context = result["context"]
                whole["programs"][workload] = {
                    "seconds": round(seconds, 1), "foreign": round(foreign, 3),
                    **{key: context[key] for key in ("line_transfer_ns", "arithmetic_step_ns",
                                                     "peers_not_installed") if key in context}}
            arguments.out.write_text(json.dumps(whole, indent=1) + "\n")
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
