#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Draws bench/out/compare.json: one row per network, latency, message rate and bandwidth by size, writes and reads
of remote memory.

usage: plots.py compare.json plot.png"""
import json
import sys

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


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as source:
        draw(json.load(source), sys.argv[2])
