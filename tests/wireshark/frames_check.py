#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""The Wireshark dissector reads every kind of packet as the engine wrote it (wire_sample), and nothing that is put
before it makes it stumble: tshark prints what it sees.

usage: frames_check.py WIRE_SAMPLE tools/wireshark/srd.lua
"""
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from dissect import dissect

sample_program, dissector = sys.argv[1:3]

# What is expected of each packet of wire_sample.cpp, in their order.
A, B = "0xaaaaaaaaaaaaaaaa", "0xbbbbbbbbbbbbbbbb"
SEALED_HELLO = {"srd.frame": "7", "srd.trailer.authentic": "1", "srd.trailer.key_id": "0xe4d96251", "srd.flags": "0x20"}
OPENED = {"srd.sealed.counter": "0", "srd.sealed.phase": "0", "srd.sealed.key_id": "0xe4d96251", "srd.frame": "1",
          "srd.sealed.opened": "1", "srd.message.sequence": "40", "srd.message.length": "300"}
CLOSED = {"srd.sealed.counter": "1", "srd.sealed.opened": "0", "srd.frame": "", "_ws.expert.message":
          "Not opened: the tag is wrong under every key of the file"}
EXCHANGED = {"srd.sealed.counter": "0", "srd.sealed.opened": "0", "srd.sealed.cipher": "aes_128_gcm", "srd.frame": "",
             "_ws.expert.message": ""}
EXPECTED = [
    {"srd.frame": "7", "srd.connection": "0x0000000000000000", "srd.hello.connection": A, "srd.hello.first_psn": "4294967290",
     "srd.hello.incarnation": "0x1111111111111111", "srd.hello.max_packet": "1472", "srd.hello.rx_buffer": "8388608",
     "srd.hello.flags": "0x01", "srd.hello.flags.answer_wanted": "1", "srd.address.ipv4": "192.0.2.1",
     "srd.address.port": "7001", "srd.address.family": "2", "srd.hello.address_length": "16"},
    {"srd.frame": "7", "srd.hello.flags.no_room": "1", "_ws.expert.message": "The peer has no record left"},
    {"srd.frame": "7", "srd.connection": A, "srd.hello.connection": B, "srd.address.ipv6": "2000::2",
     "srd.address.port": "7002", "srd.hello.first_psn": "1000"},
    {"srd.frame": "7", "srd.connection": B, "srd.hello.flags.met": "1"},
    {"srd.frame": "1,1", "srd.psn": "4294967290", "srd.flags.sequenced": "1", "srd.path": "3", "srd.attempt": "0",
     "srd.message.flags": "0x07,0x00", "srd.message.length": "20,0", "srd.message.sequence": "7,8",
     "srd.message.tag": "0x1122334455667788,0x0000000000000000", "srd.cq_data": "4711", "srd.delivery_handle": "77",
     "srd.payload": "01080f161d242b323940474e555c636a71787f86"},
    {"srd.frame": "2", "srd.part.sequence": "9", "srd.part.offset": "4096", "srd.part.total": "8192",
     "srd.part.length": "100", "srd.part.tag": "0x1122334455667788", "srd.cq_data": "4711", "srd.delivery_handle": "78"},
    {"srd.frame": "3,3,2", "srd.request.sequence": "10,11", "srd.request.total": "70000,80000",
     "srd.request.handle": "79,80", "srd.request.pieces": "2,0", "srd.cq_data": "4711,4711,4711",
     "srd.source_epoch": "5", "srd.piece.length": "60000,10000",
     "srd.piece.address": "0x0000000000001000,0x0000000000009000", "srd.request.flags.unscheduled": "0,1",
     "srd.unscheduled_bytes": "8192", "srd.part.sequence": "11", "srd.part.offset": "4096",
     "srd.part.total": "8192", "srd.part.length": "100", "srd.unscheduled_message.handle": "80",
     "srd.unscheduled_message.total": "80000"},
    {"srd.frame": "4,6,5", "srd.grant.sequence": "11", "srd.grant.sender_handle": "21", "srd.grant.receiver_handle": "22",
     "srd.grant.limit": "65536", "srd.delivered.sequence": "12", "srd.delivered.handle": "23",
     "srd.data.flags.answers_read": "1", "srd.data.sequence": "13", "srd.data.receiver_handle": "24",
     "srd.data.offset": "1048576", "srd.data.length": "50"},
    {"srd.frame": "9,10", "srd.write.length": "40", "srd.write.flags.whole": "1", "srd.write.flags.has_data": "1",
     "srd.write.key": "0xfeedfacecafebeef", "srd.write.address": "0x00007f0000001000", "srd.cq_data": "4712",
     "srd.write_total": "", "srd.read.sequence": "31", "srd.read.handle": "32", "srd.read.length": "4096",
     "srd.read.offset": "8192", "srd.read.address": "0x00007f0000002000", "srd.read.flags.last": "1"},
    {"srd.frame": "9", "srd.write_total": "9000", "srd.write.length": "40", "srd.write.flags.whole": "0",
     "srd.write.handle": "4294967295"},
    {"srd.frame": "11,12", "srd.psn": "0", "srd.atomic.sequence": "14", "srd.atomic.handle": "33", "srd.atomic.length": "16",
     "srd.atomic.operation": "12", "srd.atomic.datatype": "7", "srd.atomic.ranges": "2", "srd.range.length": "8,8",
     "srd.range.address": "0x00007f0000003000,0x00007f0000003000", "srd.range.key": "0xfeedfacecafebeef,0xfeedfacecafebeef",
     "srd.atomic.operand": "01080f161d242b323940474e555c636a", "srd.atomic.compare": "71787f868d949ba2a9b0b7bec5ccd3da",
     "srd.result.length": "16", "srd.result.sequence": "15", "srd.result.handle": "34"},
    {"srd.frame": "13,14", "srd.fault.cause": "2,3", "srd.fault.handle": "35,36", "srd.fault.sequence": "0,16",
     "srd.fault.is_read": "0,1", "srd.fault.faults": "3,0",
     "_ws.expert.message": "Refused by the target: out_of_bounds,Refused by the target: access_denied"},
    {"srd.frame": "", "srd.connection": A, "srd.ack.cumulative": "4294967294", "srd.ack.range": "4294967295,1,62-63",
     "srd.ack.missing": "4294967294,0,2-61", "srd.ack.echo_psn": "1", "srd.ack.echo_path": "3", "srd.ack.hold_ns": "500",
     "srd.ack.words": "2", "srd.ack.message_next": "9", "srd.ack.duplicates": "1", "srd.ack.faults": "2", "srd.marks.first": "1",
     "srd.ack.echo_frame": "12", "srd.ack.rtt": "0.000999500", "srd.ack.unseen": "63", "_ws.expert.message":
     "Acknowledges what was not captured,Packets bore ECN CE: congestion,The receiver has no memory for messages"},
    {"srd.frame": "15", "_ws.expert.message": "Malformed: a probe of 24 bytes that says 1400"},
    {"srd.frame": "15", "srd.mtu_probe.number": "5", "srd.mtu_probe.size": "1400", "_ws.expert.message": ""},
    {"srd.frame": "15", "srd.mtu_probe.flags.answer": "1", "srd.connection": A},
    {"srd.frame": "16", "srd.rails.way": "2", "srd.rails.nonce": "0x0123456789abcdef", "srd.rails.address": "::ffff:10.0.0.7",
     "_ws.expert.message": ""},
    {"srd.frame": "16", "srd.rails.flags.answer": "1", "_ws.expert.message": "Malformed: 15 of 16 bytes of addresses"},
    {"srd.frame": "", "srd.flags.fragment": "1", "srd.fragment.offset": "64", "srd.fragment.total": "116",
     "srd.attempt": "1", "srd.analysis.retransmission": "1", "srd.fragment.reassembled": ""},
    {"srd.frame": "1", "srd.fragment.offset": "0", "srd.fragment.reassembled": "1", "srd.message.sequence": "17",
     "srd.message.length": "100"},
    {"srd.frame": "1,1,1", "srd.psn": "3,4,5", "srd.message.sequence": "18,19,20", "srd.message.length": "200,200,9"},
    {"srd.frame": "8", "srd.ack.cumulative": "6", "srd.ack.unseen": "", "_ws.expert.message": "The sender's endpoint goes away"},
    {"srd.psn": "6", "srd.analysis.gap": "", "_ws.expert.message": ""},
    {"srd.psn": "8", "srd.analysis.gap": "1", "_ws.expert.message": "Psns before this one were not seen yet"},
    {"srd.psn": "7", "srd.analysis.out_of_order": "1", "_ws.expert.message": "Out of order"},
    {"srd.psn": "7", "srd.analysis.duplicate": "25", "srd.analysis.out_of_order": "",
     "_ws.expert.message": "Duplicate: the network, or the capture, has it twice"},
    {"srd.psn": "6", "srd.attempt": "1", "srd.path": "9", "srd.analysis.retransmission": "1", "srd.analysis.first": "23",
     "srd.analysis.since_first": "0.004000000", "srd.analysis.other_path": "1", "_ws.expert.message": "Retransmission"},
    {"srd.frame": "2", "_ws.expert.message": "Malformed: 1 bytes behind a part, which ends its packet"},
    {"frame.protocols": "raw:ip:udp:data"},
    {"srd.shm.kind": "1", "srd.shm.nonce": "0x0000000000000063", "srd.shm.ring": "4", "srd.address.ipv4": "192.0.2.1"},
    {"srd.verbs.kind": "2", "srd.verbs.queue_pair": "0x00001234", "srd.address.ipv6": "2000::2"},
    {"frame.protocols": "raw:ip:udp:infiniband:srd", "srd.message.sequence": "35", "srd.message.length": "24"},
    {"frame.protocols": "raw:ip:tcp:srd", "srd.liveness": "srd read"},
    {"frame.protocols": "raw:ip:icmp:ip:udp:srd", "srd.psn": "9", "srd.frame": "", "srd.analysis.duplicate": ""},
    {**SEALED_HELLO, "srd.trailer.offer": "1", "srd.trailer.told": "0x000000"},
    {**SEALED_HELLO, "srd.trailer.offer": "1", "srd.trailer.told": "0xd96251"},
    {**OPENED, "srd.sealed.cipher": "aes_128_gcm"},
    CLOSED,
    {**SEALED_HELLO, "srd.trailer.offer": "2"},
    SEALED_HELLO,
    {**OPENED, "srd.sealed.cipher": "chacha20_poly1305"},
    CLOSED,
    {**SEALED_HELLO, "srd.trailer.share": "09" + 31 * "00"},
    SEALED_HELLO,
    EXCHANGED,
    {**EXCHANGED, "srd.sealed.counter": "1"},
    {"srd.frame": "9", "srd.write.flags.named": "1", "srd.write.flags.whole": "1", "srd.write.length": "2",
     "srd.source_epoch": "6", "srd.piece.length": "60000,10000", "srd.piece.address": "0x0000000000001000,0x0000000000009000",
     "srd.payload": "", "_ws.expert.message": ""},
    {"srd.frame": "9", "srd.write_total": "69999", "_ws.expert.message": "Malformed: 70000 bytes of a write of 69999"},
    {"srd.frame": "5", "srd.data.flags.named": "1", "srd.data.length": "1", "srd.delivery_handle": "77",
     "srd.source_epoch": "6", "srd.piece.length": "60000", "_ws.expert.message": ""},
    {"srd.frame": "13", "srd.fault.cause": "7", "srd.fault.handle": "77", "srd.fault.faults": "4", "_ws.expert.message": ""},
]


def compare(rows, what):
    """Problems with the packets of the sample."""
    problems = [] if len(rows) == len(EXPECTED) else [f"{what}: {len(rows)} packets instead of {len(EXPECTED)}"]
    for number, (row, expected) in enumerate(zip(rows, EXPECTED), 1):
        problems += [f"{what}, packet {number}: {field} is '{row[field]}', not '{value}'"
                     for field, value in expected.items() if row[field] != value]
        problems += [f"{what}, packet {number}: {row['_ws.lua.error']}"] if row["_ws.lua.error"] else []
    return problems


def packets_of(capture):
    with open(capture, "rb") as file:
        data = file.read()
    at, packets = 24, []
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        packets.append(data[at + 16:at + 16 + size])
        at += 16 + size
    return data[:24], packets


def damage(capture, damaged, rounds):
    """Writes the packets with bytes changed, behind UDP's header, and cut: by the network, and by the capture."""
    header, packets = packets_of(capture)
    dice = random.Random(1)
    with open(damaged, "wb") as file:
        file.write(header)
        for number in range(rounds):
            packet = bytearray(dice.choice(packets))
            for _ in range(dice.choice((0, 1, 1, 2, 4))):
                packet[dice.choice((29, dice.randrange(28, len(packet)), dice.randrange(28, min(80, len(packet)))))] = \
                    dice.choice((0, 1, 255, dice.randrange(256)))
            whole = len(packet)
            packet = packet[:dice.randrange(28, whole + 1)] if number % 3 else packet
            if number % 3 == 1:  # by the network
                whole = len(packet)
                struct.pack_into(">H", packet, 2, whole)
                struct.pack_into(">H", packet, 24, whole - 20)
            file.write(struct.pack("<IIII", 1, number, len(packet), whole) + packet)


def filters_of_document():
    """The display filters that the document recommends."""
    name = os.path.join(os.path.dirname(dissector), "../../docs/wireshark.md")
    with open(name, encoding="utf-8") as file:
        rows = [line for line in file if line.startswith("| `")]
    return [text.replace("\\|", "|") for row in rows for text in re.findall(r"`([^`]*srd[^`]*|_ws[^`]*)`", row)]


def main():
    if not shutil.which("tshark"):
        print("SKIPPED: tshark is not installed")
        return 77
    fields = sorted({"_ws.lua.error", "_ws.expert.message"}.union(*EXPECTED))
    with tempfile.TemporaryDirectory() as folder:
        capture, keys, damaged = (os.path.join(folder, name) for name in ("capture", "keys", "damaged"))
        subprocess.run([sample_program, capture, keys], check=True)
        problems = compare(dissect(dissector, capture, fields, keys), "once")
        problems += compare(dissect(dissector, capture, fields, keys, ["-2"]), "in two passes")
        closed = [row["srd.sealed.opened"] for row in dissect(dissector, capture, fields)]
        if closed.count("0") != 6 or "1" in closed:
            problems.append(f"without the key file: srd.sealed.opened is {closed}")

        filters = filters_of_document()
        found = dissect(dissector, capture, ["frame.number"], keys, ["-Y", " || ".join(f"({text})" for text in filters)])
        if len(filters) < 10 or not 10 < len(found) < len(EXPECTED):
            problems.append(f"{len(filters)} filters of the document find {len(found)} packets")

        damage(capture, damaged, 4000)
        rows = dissect(dissector, damaged, ["frame.protocols", "_ws.lua.error", "_ws.expert.message"], keys)
        ours = [row for row in rows if row["frame.protocols"].endswith("srd")]
        malformed = [row for row in ours if "Malformed" in row["_ws.expert.message"]]
        stumbled = [row["_ws.lua.error"] for row in rows if row["_ws.lua.error"]]
        print(f"{len(rows)} damaged packets: {len(ours)} taken for srd, {len(malformed)} of them malformed")
        if stumbled or len(rows) != 4000 or not malformed:
            problems.append(f"damaged packets: {len(stumbled)} errors in Lua: {stumbled[:3]}")
    print("\n".join(problems) or f"{len(EXPECTED)} packets, {len(fields)} fields, all as they were written")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
