#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Reads what ctest wrote with --output-junit.

junit_summary.py FILE PREFIX: one line per test on stdout, tab-separated:
passed|failed|skipped, PREFIX and the test's name, and a reason if there is one.
Passed tests that skipped a part of themselves loudly (a line "SKIPPED: why")
add a line "partly", so that nothing is skipped in silence.
"""
import re
import sys
import xml.etree.ElementTree as tree


def reasons(output):
    return [line.strip() for line in re.findall(r"^.*SKIPPED:\s*(.*)$", output or "", re.MULTILINE)]


def main():
    path, prefix = sys.argv[1:]
    for case in tree.parse(path).getroot().iter("testcase"):
        name = prefix + case.get("name")
        said = reasons(case.findtext("system-out"))
        status = case.get("status")
        if case.find("skipped") is not None or status in ("notrun", "disabled"):
            why = said[-1] if said else (case.find("skipped").get("message") if case.find("skipped") is not None else status)
            print("skipped", name, why or "no reason given", sep="\t")
        elif status == "run":
            print("passed", name, "", sep="\t")
            for why in said:
                print("partly", name, why, sep="\t")
        else:
            failure = case.find("failure")
            print("failed", name, (failure.get("message") if failure is not None else "") or "failed", sep="\t")


main()
