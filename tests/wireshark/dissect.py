# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""tshark with the dissector, for the tests that read captures with it."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile


def dissect(dissector, capture, fields, key_file=None, options=()):
    """The packets of a capture as tshark sees them, each a { field: text }; several values are joined by commas.

    tshark runs in a folder of its own, where no dissector is installed and nothing is set, and not as root: as root,
    Wireshark runs no Lua from 4.4 on.
    """
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        for name in glob.glob(os.path.join(os.path.dirname(dissector), "*.lua")) + [capture] + ([key_file] if key_file else []):
            shutil.copyfile(name, os.path.join(home, os.path.basename(name)))
            os.chmod(os.path.join(home, os.path.basename(name)), 0o644)
        command = ["tshark", "-X", f"lua_script:{home}/{os.path.basename(dissector)}", "-o", "udp.try_heuristic_first:TRUE",
                   *(["-o", f"srd.key_file:{home}/{os.path.basename(key_file)}"] if key_file else []), *options,
                   "-r", f"{home}/{os.path.basename(capture)}", "-T", "fields", "-E", "occurrence=a",
                   *(word for field in fields for word in ("-e", field))]
        other_user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home, **other_user,
                              env=dict(os.environ, HOME=home, WIRESHARK_PLUGIN_DIR=home + "/none", WIRESHARK_CONFIG_DIR=home))
    if done.returncode != 0 or "srd" in done.stderr or "ua" in done.stderr:
        sys.exit(f"tshark failed ({done.returncode}): {done.stderr}")
    # Newer versions write words for what older ones write as numbers.
    text = re.sub(r"\b(True|False)\b", lambda word: str(int(word[0] == "True")), done.stdout)
    return [dict(zip(fields, line.split("\t"))) for line in text.splitlines()]
