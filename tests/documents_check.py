#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Every FI_SRD_* variable that `fi_info -e` lists stands, with its default, in the README and the man page, which
has what the list says word for word; and neither document names a variable that does not exist.

usage: documents_check.py SOURCE_DIR PROVIDER_DIR
"""
import os
import re
import subprocess
import sys

source, provider_dir = sys.argv[1:3]
env = dict(os.environ, FI_PROVIDER_PATH=provider_dir)
listing = subprocess.run(["fi_info", "-e"], env=env, capture_output=True, check=True).stdout.decode("latin-1")
variables = dict(re.findall(r"# (FI_SRD_\w+):.*\n# srd: (.*)", listing))
problems = [] if variables else ["fi_info -e lists no FI_SRD_ variable"]

for name in ("README.md", "docs/fi_srd.7"):
    with open(os.path.join(source, name), encoding="utf-8") as file:
        text = file.read()
    for variable in sorted(set(re.findall(r"FI_SRD_[A-Z_]*[A-Z]", text)) - set(variables)):
        problems.append(f"{name} names {variable}, which does not exist")
    for variable, description in variables.items():
        lines = [line for line in text.splitlines() if variable in line or description[1:] in line]
        default = re.search(r"default:? ([\w-]+)", description)
        if not lines:
            problems.append(f"{name} does not mention {variable}")
        elif default and default.group(1).isdigit() and not any(default.group(1) in line for line in lines):
            problems.append(f"{name} does not give the default of {variable}, {default.group(1)}")

with open(os.path.join(source, "docs/fi_srd.7"), encoding="utf-8") as file:
    manual = " ".join(file.read().split())
for variable, description in variables.items():
    entry = f".B {variable} {description[0].upper()}{description[1:]}"
    if entry not in manual:
        problems.append(f"docs/fi_srd.7 does not say of {variable} what fi_info -e says: {description}")

print("\n".join(problems) or f"{len(variables)} variables, all documented")
sys.exit(1 if problems else 0)
