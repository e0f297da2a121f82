#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What the Wireshark dissector knows of the wire is what the engine's headers say.

usage: table_check.py WIRE_TABLE tools/wireshark/srd_wire.lua
"""
import difflib
import subprocess
import sys

program, name = sys.argv[1:3]
said = subprocess.run([program], capture_output=True, check=True, text=True).stdout.splitlines()
with open(name, encoding="utf-8") as file:
    known = file.read().splitlines()
difference = list(difflib.unified_diff(known, said, name, "the headers", lineterm="", n=1))
print("\n".join(difference) or f"{len(said)} lines, all as in the headers")
if difference:
    print(f"\nThe wire has changed. {program} > {name} renews the table; then srd_frames.lua may need a change as well.")
sys.exit(1 if difference else 0)
