#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the figures of one JSON as tables:  python3 bench/report.py RESULTS.json RESULTS.md"""

import pathlib
import sys

import results


def first_sentence(workload):
    """What the workload asks, from the first comment of its file."""
    family = {"burst_loop": "burst"}.get(workload, workload)
    folder = pathlib.Path(__file__).parent / "workloads"
    for path in folder.glob(f"{family}.*"):
        text = path.read_text(encoding="utf-8")
        begin = text.index(f"{family}: ")
        end = text.index("?", begin) + 1
        asked = " ".join(text[begin + len(family) + 2:end].replace("\n//", " ").split())
        return asked[0].upper() + asked[1:]
    return ""


def table(rows, figure):
    cases = results.cases_of(rows)
    peers = list(dict.fromkeys(row.peer for row in rows))
    titles = [", ".join(f"{key} {value}" for key, value in case) or figure for case in cases]
    lines = ["| " + " | ".join(["", *titles]) + " |", "|---" + "|--:" * len(titles) + "|"]
    for peer in peers:
        cells = []
        for by_peer in cases.values():
            if peer not in by_peer or figure not in by_peer[peer].figures:
                cells.append("")
                continue
            value = by_peer[peer].figures[figure]
            cell = results.show(figure, value)
            base = by_peer.get(results.BASE)
            if base is not None and peer != results.BASE and base.figures.get(figure, 0) > 0:
                cell += f" ({value / base.figures[figure]:.2g} x)"
            cells.append(cell)
        name = f"**{peer}**" if peer == results.BASE else peer
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def sizes(rows):
    """What the peers got to do, where it is not a case."""
    cases = [dict(case) for case in results.cases_of(rows)]
    varying = {key for case in cases for key in case} | {"workers"}
    by_size = {}
    for row in rows:
        size = ", ".join(f"{key}:{value}" for key, value in row.parameters.items()
                         if key not in varying)
        if size:
            by_size.setdefault(size, {})[row.peer] = None
    if not by_size:
        return []
    if len(by_size) == 1:
        return [f"Size: {next(iter(by_size))}.", ""]
    return ["Sizes: " + "; ".join(f"{size} ({', '.join(peers)})"
                                  for size, peers in by_size.items()) + ".", ""]


def main():
    source, target = sys.argv[1:3]
    whole, rows = results.load(source)
    machine, programs = whole["machine"], whole["programs"]
    transfers = [float(p["line_transfer_ns"]) for p in programs.values() if "line_transfer_ns" in p]
    missing = {p["peers_not_installed"] for p in programs.values() if p.get("peers_not_installed")}

    lines = [
        "# What the benches measured", "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['compiler']}, -O3. "
        f"Commit {machine['commit']}, {machine['date']}. Made by "
        f"`bash bench/run{' --quick' if whole['quick'] else ''}`; the first comment of each file in "
        "`bench/workloads` says what is timed and what is fair.", "",
        "Medians of 7 (pending and idle: 3; compile: the best of 9), one peer interleaved with the others. In "
        f"brackets: times the figure of `{results.BASE}` in the same run. Where peers got fewer tasks, "
        "figures are per task. "
        f"`{results.FALLBACK}` is the same library with CONCURRENT_NO_MEMBARRIER=1, run behind the others: the "
        "mode for systems without that call. Figures count when the line transfer is at most 60 ns and `foreign`, "
        "what other processes took of the machine, is small; ratios count always.", ""]
    if whole["quick"]:
        lines += ["**Made with --quick: a tenth of the tasks, 3 repetitions. These figures do not "
                  "count.**", ""]
    if missing:
        lines += [f"Not installed, so left out: {', '.join(sorted(missing))}.", ""]
    if transfers:
        lines += [f"Line transfer between two cores, one way: {min(transfers):.0f} to "
                  f"{max(transfers):.0f} ns over the programs.", ""]
    for workload in dict.fromkeys(row.workload for row in rows):
        some = [row for row in rows if row.workload == workload]
        lines += [f"## {workload}", "", first_sentence(workload), ""]
        lines += sizes(some)
        for figure in dict.fromkeys(key for row in some for key in row.figures):
            lines += [f"`{figure}`:", "", *table(some, figure), ""]
    lines += ["## Calibration", "", "| program | line transfer | arithmetic step | foreign | took |",
              "|---|--:|--:|--:|--:|"]
    for name, program in programs.items():
        calibration = [f"{float(program[key]):.3g} ns" if key in program else ""
                       for key in ("line_transfer_ns", "arithmetic_step_ns")]
        lines.append(f"| {name} | {calibration[0]} | {calibration[1]} | {program['foreign']:.0%} | "
                     f"{program['seconds']:.0f} s |")
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
