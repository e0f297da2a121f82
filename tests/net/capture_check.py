#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What the Wireshark dissector sees in a capture of two endpoints' traffic is what the endpoints say they sent.

usage: capture_check.py CAPTURE FOLDER_OF_COUNTERS DISSECTOR [--key-file FILE] [partly] [WHAT ...]
partly: the endpoints have sent more than what was captured (to themselves).
WHAT must be in it: retransmission, train (packets captured as one), sealed, opened, or the name of a frame.
"""
import argparse
import collections
import glob
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../wireshark"))
from dissect import dissect  # noqa: E402

FRAMES = ["", "message", "part", "request", "grant", "data", "delivered", "hello", "close", "write", "read", "atomic",
          "result", "fault", "denied", "mtu_probe"]
FIELDS = ["frame.number", "frame.protocols", "srd.connection", "srd.psn", "srd.path", "srd.attempt",
          "srd.flags.sequenced", "srd.flags.has_ack", "srd.flags.sealed", "srd.flags.authenticated", "srd.frame",
          "srd.message.sequence", "srd.part.sequence", "srd.request.sequence", "srd.atomic.sequence",
          "srd.analysis.retransmission", "srd.analysis.first", "srd.analysis.other_path", "srd.ack.echo_psn",
          "srd.ack.echo_path", "srd.ack.echo_attempt", "srd.ack.echo_frame", "srd.ack.range",
          "srd.mtu_probe.flags.answer", "srd.sealed.opened", "_ws.malformed", "_ws.lua.error", "_ws.expert.severity",
          "_ws.expert.message"]
ERROR = str(0x800000)


def counters(folder):
    """The sums of all endpoints' counters."""
    total = collections.Counter()
    for name in glob.glob(os.path.join(folder, "srd.*.json")):
        with open(name, encoding="utf-8") as file:
            for line in file:
                total.update({key: value for key, value in json.loads(line).items() if isinstance(value, int)})
    return total


class Seen:
    """What is in the capture, and what is wrong with it."""

    def __init__(self):
        self.count = collections.Counter()
        self.frames = collections.Counter()
        self.messages, self.atomics = set(), set()
        self.sent = {}  # by frame, of datagrams of one packet: psn, path, attempt
        self.problems = []

    def add(self, row):
        """One datagram."""
        number = row["frame.number"][0]
        if row["frame.protocols"][0].split(":")[-1] != "srd":
            self.problems.append(f"frame {number} is not srd: {row['frame.protocols'][0]}")
            return
        if row["_ws.malformed"] or row["_ws.lua.error"] or ERROR in row["_ws.expert.severity"]:
            self.problems.append(f"frame {number}: {row['_ws.expert.message']}")
        packets = len(row["srd.connection"])
        count = self.count
        count["datagrams"] += 1
        count["packets"] += packets
        count["train"] += packets > 1
        count["repeated"] += packets - row["srd.attempt"].count("0")
        count["retransmission"] += len(row["srd.analysis.retransmission"])
        count["of a packet seen before"] += len(row["srd.analysis.first"])
        count["on another path"] += row["srd.analysis.other_path"].count("1")
        count["acknowledgements alone"] += row["srd.flags.has_ack"] == ["1"] and row["srd.flags.sequenced"] == ["0"] \
            and not row["srd.frame"] and row["srd.sealed.opened"] != ["0"]
        count["acknowledgements with bitmap"] += bool(row["srd.ack.range"])
        count["sealed"] += row["srd.flags.sealed"].count("1")
        count["authenticated"] += row["srd.flags.authenticated"].count("1")
        count["opened"] += row["srd.sealed.opened"].count("1")
        count["probes"] += row["srd.mtu_probe.flags.answer"].count("0")
        self.frames.update(FRAMES[int(kind)] for kind in row["srd.frame"])
        self.add_sequences(row)
        if packets == 1:
            self.add_echo(number, row)

    def add_sequences(self, row):
        connection = row["srd.connection"][0]
        for field in ("srd.message.sequence", "srd.part.sequence", "srd.request.sequence"):
            self.messages.update((connection, sequence) for sequence in row[field])
        self.atomics.update((connection, sequence) for sequence in row["srd.atomic.sequence"])

    def add_echo(self, number, row):
        """The frame that an acknowledgement is said to echo is the one that it names."""
        if row["srd.flags.sequenced"] == ["1"]:
            self.sent[number] = (row["srd.psn"], row["srd.path"], row["srd.attempt"])
        if row["srd.ack.echo_frame"]:
            self.count["echoes"] += 1
            named = (row["srd.ack.echo_psn"], row["srd.ack.echo_path"], row["srd.ack.echo_attempt"])
            if self.sent.get(row["srd.ack.echo_frame"][0], named) != named:
                self.problems.append(f"frame {number} echoes {named}, not frame {row['srd.ack.echo_frame']}")

    def compare(self, said, sealed, has_key):
        """[(what, here, by the counters)]"""
        retransmits = sum(value for name, value in said.items()
                          if name.startswith("retransmits_") and name != "retransmits_spurious")
        count = self.count
        result = [("packets", count["packets"], said["tx_packets"] + said["tx_hello_answers"]),
                  ("retransmissions", count["repeated"], retransmits),
                  ("retransmissions whose first transmission is named", count["of a packet seen before"], retransmits)]
        if sealed:
            result += [("packets sealed or authenticated", count["sealed"] + count["authenticated"], count["packets"]),
                       ("packets opened", count["opened"], count["sealed"] if has_key else 0)]
        if not sealed or has_key:
            result += [("messages", len(self.messages), said["tx_messages"]),
                       ("atomics", len(self.atomics), said["tx_atomics"]), ("probes", count["probes"], said["mtu_probes"])]
            if not count["train"]:
                result.append(("acknowledgements alone", count["acknowledgements alone"], said["tx_acks"]))
        return result


def main():
    parser = argparse.ArgumentParser()
    for name in ("capture", "stats", "dissector"):
        parser.add_argument(name)
    parser.add_argument("--key-file")
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_intermixed_args()
    wanted = set(arguments.wanted)
    seen = Seen()
    for row in dissect(arguments.dissector, arguments.capture, FIELDS, arguments.key_file, ["-Y", "udp && !icmp"]):
        seen.add({field: text.split(",") if text else [] for field, text in row.items()})
    comparisons = [("retransmissions that are labelled so", seen.count["retransmission"], seen.count["repeated"])]
    if "partly" not in wanted:
        comparisons += seen.compare(counters(arguments.stats), "sealed" in wanted, arguments.key_file)
    problems = seen.problems + [f"{what}: {here} in the capture, {said} by the counters"
                                for what, here, said in comparisons if here != said]
    problems += [f"nothing of this was in the capture: {what}" for what in sorted(wanted - {"partly"})
                 if not seen.count[what] and not seen.frames[what]]
    print(", ".join(f"{number} {what}" for what, number in seen.count.items() if number))
    print("frames:", ", ".join(f"{number} {kind}" for kind, number in seen.frames.most_common()))
    print("equal to the counters:", ", ".join(f"{here} {what}" for what, here, said in comparisons if here == said))
    print("\n".join(problems[:20]))
    return 1 if problems or not seen.count["packets"] else 0


if __name__ == "__main__":
    sys.exit(main())
