#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Draws bench/out/compare.json: one row per network, latency, message rate and bandwidth by size, writes and reads
of remote memory. Or what fabric_sim --json wrote: the flows' shares of the ideal by experiment.

usage: plots.py compare.json plot.png
       plots.py fabric.json plot.svg"""
import json
import statistics
import sys
from xml.sax.saxutils import escape

LABELS = {"latency": ("mean_us", "one-way latency, us (bar: p99)"), "rate": ("mmsg_s", "million messages/s"),
          "bandwidth": ("gb_s", "GB/s"),
          "write_latency": ("mean_us", "fi_write, us (bar: p99)"), "write_bandwidth": ("gb_s", "GB/s"),
          "read_latency": ("mean_us", "fi_read, us (bar: p99)"), "read_bandwidth": ("gb_s", "GB/s")}


def draw(report, path):
    """Raises ImportError when matplotlib is missing."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = report["medians"]
    networks = list(dict.fromkeys(row["environment"] for row in rows))
    if not networks:
        return False
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    labels = {test: label for test, label in LABELS.items() if any(row["test"] == test for row in rows)}
    figure, axes = pyplot.subplots(len(networks), len(labels), squeeze=False,
                                   figsize=(5 * len(labels), 3.6 * len(networks)))
    for line, network in zip(axes, networks):
        for axis, (test, (metric, label)) in zip(line, labels.items()):
            for index, provider in enumerate(providers):
                points = sorted((row["size"], row[metric], row.get("p99_us")) for row in rows
                                if (row["environment"], row["provider"], row["test"]) == (network, provider, test))
                if not points:
                    continue
                sizes, values = [point[0] for point in points], [point[1] for point in points]
                color = "black" if provider == "srd" else f"C{index}"
                axis.plot(sizes, values, marker="o", label=provider, color=color,
                          linestyle="--" if provider.startswith("raw") else "-")
                if metric == "mean_us":
                    axis.vlines(sizes, values, [point[2] for point in points], color=color, alpha=0.4)
            if axis.has_data():
                axis.set_xscale("log", base=2)
                axis.set_yscale("log")
            axis.set_title(f"{network}: {test}")
            axis.set_xlabel("bytes")
            axis.set_ylabel(label)
            axis.grid(True, which="both", alpha=0.3)
    handles = {name: handle for axis in axes.flat for handle, name in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncol=len(handles))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / (3.6 * len(networks))))
    figure.savefig(path, dpi=110)
    return True


def draw_shares(report, path):
    """A bar per experiment, to the mean flow's share; darker, to the slowest one's; a mark at what that could have
    had. Medians over the seeds, and a line from the least to the best slowest flow of all seeds."""
    left, scale, line, top = 330, 5, 22, 46
    by_name = {}
    for row in report["rows"]:
        by_name.setdefault(row["experiment"], []).append(row)
    bottom = top + line * len(by_name)
    shapes = []

    def text(x, y, words, anchor="start"):
        shapes.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def bar(start, end, y, height, color):
        shapes.append(f'<rect x="{left + scale * start:g}" y="{y:g}" width="{scale * (end - start):g}" '
                      f'height="{height:g}" fill="{color}"/>')

    text(10, 18, f"{report['hosts']} hosts, {report['tiers']} tiers, {report['oversubscription']}:1, "
                 f"{report['gbit_per_s']:g} Gbit/s: share of the ideal, %")
    text(10, 36, "light: mean flow; dark: slowest flow, with its range over the seeds; red: its fair share")
    for percent in range(0, 121, 20):
        bar(percent, percent + 0.1, top, bottom - top, "#ccc")
        text(left + scale * percent, bottom + 16, str(percent), "middle")
    for index, (name, rows) in enumerate(by_name.items()):
        y = top + line * index
        slowest = [min(row["worst_percent"], 130) for row in rows]
        text(left - 8, y + 15, name, "end")
        bar(0, min(statistics.median(row["mean_percent"] for row in rows), 130), y + 3, 16, "#9ecae1")
        bar(0, statistics.median(slowest), y + 6, 10, "#3182bd")
        bar(min(slowest), max(slowest), y + 10.5, 1, "black")
        fair = statistics.median(row["fair_percent"] for row in rows)
        bar(fair, fair + 0.4, y + 1, 20, "#de2d26")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + scale * 135}" height="{bottom + 30}" '
                   f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n')
        file.write("\n".join(shapes) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as source:
        document = json.load(source)
    (draw_shares if "rows" in document else draw)(document, sys.argv[2])
