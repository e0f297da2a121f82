#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Which branches of what llvm-cov has exported were not taken one way.

usage: untaken_branches.py FOLDERS EXPORT.json...      (FOLDERS: PREFIX{a,b,c}, of which only files in PREFIXa/ etc. count)

A line for each: file, line, which way is missing, the source. The totals by file come last. A branch of a template
or an inline function counts as taken if it was in some instance.
"""
import collections
import json
import sys


def main():
    prefix, folders = sys.argv[1].rstrip("}").split("{")
    wanted = tuple(f"{prefix}{folder}/" for folder in folders.split(","))
    exports = sys.argv[2:]
    # By file and place: how often true, how often false.
    files = collections.defaultdict(lambda: collections.defaultdict(lambda: [0, 0]))
    for export in exports:
        with open(export, encoding="utf-8") as file:
            entries = json.load(file)["data"][0]["files"]
        for entry in entries:
            if not entry["filename"].startswith(wanted):
                continue
            for line, column, _, _, taken, not_taken, *_ in entry.get("branches", []):
                files[entry["filename"]][line, column][0] += taken
                files[entry["filename"]][line, column][1] += not_taken
    total_ways, total_missing = 0, 0
    rows, sums = [], []
    for path, ways in sorted(files.items()):
        name = path.removeprefix(prefix)
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        missing = [(line, column, way) for (line, column), counts in sorted(ways.items())
                   for way, count in zip(("true", "false"), counts) if count == 0]
        rows += [f"{name}:{line}:{column} never {way:5} {lines[line - 1].strip()}" for line, column, way in missing]
        if ways:
            sums.append(f"{name:40} {2 * len(ways) - len(missing):5} of {2 * len(ways):5} ways taken")
        total_ways += 2 * len(ways)
        total_missing += len(missing)
    print("\n".join(rows + sums))
    print(f"{'all':40} {total_ways - total_missing:5} of {total_ways:5} ways taken")


if __name__ == "__main__":
    main()
