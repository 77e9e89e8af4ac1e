#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws one JSON as one picture:  python3 bench/plot.py RESULTS.json PICTURE

Writes PICTURE.svg and PICTURE.png. A bar for each peer, in each panel one figure of one workload.
Names are those of the JSON; what loses is shown like what wins.
"""

import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import results  # noqa: E402

# Workload, figure, and the case where there are several.
PANELS = [
    ("submit_get", "seconds_per_task", {"workers": "2"}),
    ("detached", "seconds_per_task", {"workers": "2"}),
    ("producers", "seconds_per_task", {"workers": "2"}),
    ("round_trip", "p50_seconds", {"silence_us": "0", "busy": "0"}),
    ("round_trip", "p50_seconds", {"silence_us": "200", "busy": "0"}),
    ("round_trip", "p50_seconds", {"silence_us": "0", "busy": "1"}),
    ("nested", "seconds_per_task", {"workers": "2"}),
    ("skynet", "seconds_per_task", {"workers": "2"}),
    ("nqueens", "seconds_per_task", {"workers": "2"}),
    ("burst", "last_begun_seconds", {"tasks": "2", "task_us": "100"}),
    ("burst_loop", "efficiency", {"tasks": "1000", "task_us": "10"}),
    ("pending", "bytes_per_task", {}),
    ("idle", "processor_seconds", {}),
    ("lifecycle", "seconds_per_task", {"workers": "2"}),
    ("oversubscribed", "seconds_per_task", {"task_us": "0"}),
    ("compile", "best_seconds", {}),
]
COLUMNS = 4
WIDE = 20  # Where the figures differ more, the axis is logarithmic.
COLOURS = {results.BASE: "#1f6fb4", "serial": "#d9d9d9", "futex": "#d9d9d9"}
OTHERS = "#9aa5b1"


def select(rows, workload, figure, wanted):
    """The rows of the panel: what matches in every parameter that it has."""
    some = [row for row in rows if row.workload == workload and figure in row.figures and
            row.peer != results.FALLBACK]
    return [row for row in some
            if all(row.parameters.get(key, value) == value for key, value in wanted.items())]


def draw(axes, rows, workload, figure, wanted):
    values = [row.figures[figure] for row in rows]
    positive = [value for value in values if value > 0] or [1]
    is_share = figure == "efficiency"
    is_wide = not is_share and max(positive) > WIDE * min(positive)
    if is_wide:
        left = min(positive) / 2.5
        right = max(positive) * (max(positive) / left) ** 0.42
    else:
        left, right = 0, 1.42 * max(positive)
    rows = sorted(rows, key=lambda row: row.figures[figure], reverse=not is_share)
    for place, row in enumerate(rows):
        value = row.figures[figure]
        axes.barh(place, max(value, left) - left, left=left, height=0.72,
                  color=COLOURS.get(row.peer, OTHERS))
        axes.text(max(value, left), place, f" {results.show(figure, value)}", va="center", fontsize=7.5)
    if is_wide:
        axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_yticks(range(len(rows)), [row.peer for row in rows], fontsize=8)
    for label, row in zip(axes.get_yticklabels(), rows):
        label.set_fontweight("bold" if row.peer == results.BASE else "normal")
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    case = " ".join(f"{key}:{value}" for key, value in wanted.items())
    better = "more is better" if is_share else "less is better"
    scale = ", log scale" if is_wide else ""
    axes.set_title(workload, fontsize=9.5, fontweight="bold", loc="left", pad=27)
    for text, above, colour in ((case, 14, "black"), (f"{figure}, {better}{scale}", 3, "#555555")):
        axes.annotate(text, (0, 1), (0, above), xycoords="axes fraction",
                      textcoords="offset points", fontsize=7.5, color=colour)


def main():
    source, target = sys.argv[1:3]
    whole, rows = results.load(source)
    panels = [(select(rows, *panel), panel) for panel in PANELS]
    panels = [(some, panel) for some, panel in panels if some]

    lines = -(-len(panels) // COLUMNS)
    picture, grid = plt.subplots(lines, COLUMNS, figsize=(13, 2.6 * lines + 0.4), squeeze=False)
    for axes in grid.flat[len(panels):]:
        axes.set_visible(False)
    for axes, (some, panel) in zip(grid.flat, panels):
        draw(axes, some, *panel)
    machine = whole["machine"]
    quick = " Made with --quick: these figures do not count." if whole["quick"] else ""
    picture.text(0.008, 0.004, f"{machine['cpu']}, {machine['cores']} cores, {machine['compiler']}, commit "
                 f"{machine['commit']}, {machine['date']}."
                 f"{quick}", fontsize=7.5, color="#555555")
    picture.tight_layout(rect=(0, 0.015, 1, 1), h_pad=1.6, w_pad=1.2)
    matplotlib.rcParams["svg.hashsalt"] = "concurrent"
    picture.savefig(f"{target}.svg", metadata={"Date": None}, facecolor="white")
    svg = pathlib.Path(f"{target}.svg")
    svg.write_text("".join(f"{line.rstrip()}\n" for line in svg.read_text().splitlines()))
    picture.savefig(f"{target}.png", dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
