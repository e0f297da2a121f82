// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The rooms of the house and who may enter which: the table that layers_test.cpp enforces.
//
// A room is a folder without the folders in it, or one header and its .cpp (a place without extension), which
// then is not part of the folder it lies in. It may include its own files and, of the rooms in its list, the
// doors: the headers that a room names, or all of them if it names none. "place/*" opens every header of a
// room to one that builds on its insides. The table is ordered: a room sees only rooms above it in the list,
// so nothing runs back.
#pragma once

#include <string>
#include <vector>

namespace srd::test {

struct Room {
    std::string place;
    std::vector<std::string> sees;
    std::vector<std::string> doors = {};
};

namespace place {

inline const std::string transport = "src/transport";
inline const std::string io = "src/transport/io";
inline const std::string prov = "src/prov_srd";
inline const std::string base = "include/srd";
inline const std::string operation = transport + "/operation"; // what is asked of an engine, what it tells
inline const std::string engine = transport;                   // engine.hpp and what it consists of
inline const std::string wire = transport + "/wire", cc = transport + "/cc", lb = transport + "/lb";
inline const std::string send = transport + "/send", receive = transport + "/receive";
inline const std::string rma = transport + "/rma", peer = transport + "/peer";
inline const std::string device = transport + "/device"; // memory of devices on its way to and from packets
inline const std::string fault_ledger = rma + "/fault_ledger"; // kept by senders, asked by the target
inline const std::string shared = transport + "/shared";       // the parts of one engine, handed to its acts
inline const std::string placement = receive + "/placement", inbound = receive + "/inbound";
inline const std::string unsealing = receive + "/unsealing";
inline const std::string target = rma + "/target", initiator = rma + "/initiator";
inline const std::string local = transport + "/local"; // messages to peers on this host
inline const std::string framing = send + "/framing", submission = send + "/submission";
inline const std::string ack_handler = send + "/ack_handler", transmitter = send + "/transmitter";
inline const std::string lifecycle = peer + "/lifecycle", path_search = peer + "/path_search";
inline const std::string rail_search = peer + "/rail_search";
inline const std::string watch = peer + "/watch";
inline const std::string timing_wheel = transport + "/timing_wheel";
inline const std::string progress = transport + "/progress";
inline const std::string core = io + "/core", host = io + "/host", udp = io + "/udp", raw = io + "/raw";
inline const std::string packet = io + "/packet", xdp = io + "/xdp", verbs = io + "/verbs";
inline const std::string shm = io + "/shm", seal_io = io + "/seal", rails_io = io + "/rails";
inline const std::string packet_io = core + "/packet_io"; // the seam: all that the engine knows of I/O
inline const std::string local_road =
    core + "/local_road"; // beside it: whole messages in memory of this host
inline const std::string random_numbers = core + "/system_random"; // unpredictable numbers
inline const std::string seal = transport + "/seal";               // sealed traffic: keys, sessions, replay
inline const std::string crypto = seal + "/crypto";                // what of libcrypto is used
inline const std::string mr = "src/mr", hmem = mr + "/hmem";
inline const std::string forking = prov + "/common/fork"; // what becomes of all this in a child
inline const std::string common = prov + "/common", entry = prov + "/entry", loop = prov + "/progress";
inline const std::string live = prov + "/live"; // statistics that others read while we run
inline const std::string objects = prov + "/objects", completion = prov + "/completion";
inline const std::string matching = prov + "/matching", trigger = prov + "/trigger";
inline const std::string memory = prov + "/memory", endpoint = prov + "/endpoint";
inline const std::string calls = prov + "/calls", provider = prov + "/provider";

} // namespace place

inline std::vector<Room> ground_rooms()
{
    using namespace place;
    return {
        {base, {}}, {"include/rdma", {}}, {"src", {base}}, {mr, {base}}, {hmem, {base}, {"devices.hpp"}},
    };
}

inline std::vector<Room> backend_rooms()
{
    using namespace place;
    return {
        {packet_io, {base}},
        {local_road, {base}},
        {random_numbers, {base}},
        {crypto, {base}},
        {seal, {base, crypto}},
        {core, {base, packet_io, random_numbers}},
        {host, {base, core}},
        {udp, {base, packet_io, core, host}, {"udp_io.hpp"}},
        {rails_io, {base, packet_io, core}, {"rails_io.hpp"}},
        {raw, {base, packet_io, core, host, udp}, {"raw_io.hpp"}},
        {packet, {base, packet_io, core, host, udp, raw + "/*"}, {"packet_ring_io.hpp"}},
        {xdp, {base, packet_io, core, host, udp, raw + "/*"}, {"xdp_io.hpp"}},
        {verbs, {base, packet_io, random_numbers, core, udp}, {"verbs_ud_io.hpp"}},
        {shm, {base, packet_io, local_road, random_numbers, core}, {"shm_io.hpp"}},
        {seal_io, {base, packet_io, core, seal}, {"seal_io.hpp"}},
    };
}

inline std::vector<Room> engine_rooms()
{
    using namespace place;
    return {
        // The state of a connection, each part by itself ...
        {operation, {base}},
        {wire, {base, operation}},
        {timing_wheel, {base}},
        {cc, {base}},
        {lb, {base}},
        {fault_ledger, {base, operation, wire}},
        // What a connection consists of, part by part ...
        {send, {base, packet_io, operation, wire, cc, lb, fault_ledger}},
        {receive, {base, packet_io, operation, wire, seal}},
        {device, {base, packet_io, operation, wire, send, receive}},
        {peer, {base, packet_io, operation, timing_wheel, wire, lb, send, receive}},
        {shared, {base, packet_io, local_road, lb, send, receive, device, peer, seal}},
        // ... and what is done with connections, each act by the ones above it.
        {placement, {base, local_road, operation, receive, shared}},
        {placement + "_answers", {base, receive, shared, placement}},
        {placement + "_memory", {base, shared, placement}},
        {target, {base, operation, receive, shared, placement}},
        {initiator, {base, operation, receive, shared, placement, target}},
        {framing, {base, operation, shared, placement, initiator, target}},
        {lifecycle, {base, operation, wire, receive, shared, placement}},
        {lifecycle + "_handshake", {base, operation, receive, shared, placement, lifecycle}},
        {watch, {base, operation, shared, lifecycle}},
        {local, {base, local_road, operation, shared, placement, lifecycle, watch}},
        {submission, {base, operation, receive, shared, initiator, framing, lifecycle}},
        {path_search, {base, operation, receive, shared}},
        {rail_search, {base, operation, receive, shared}},
        {ack_handler, {base, cc, lb, wire, shared}},
        {transmitter, {base, packet_io, wire, shared, framing, lifecycle}},
        {transmitter + "_probes", {base, shared, transmitter}},
        {transmitter + "_unsent", {base, shared, transmitter}},
        {unsealing, {base, packet_io, wire, shared}},
        {inbound,
         {base, packet_io, operation, wire, receive, unsealing, shared, placement, target, initiator,
          lifecycle, watch, path_search, rail_search, submission, ack_handler, local}},
        {engine,
         {base, packet_io, local_road, operation, lb, shared, placement, target, initiator, framing,
          lifecycle, watch, path_search, rail_search, local, submission, ack_handler, transmitter, inbound},
         {"engine.hpp"}},
        {progress, {base, packet_io, local_road, engine}},
    };
}

inline std::vector<Room> provider_rooms()
{
    using namespace place;
    return {
        {common, {base, operation, engine}},
        {forking, {base, udp, common}},
        {entry,
         {base, random_numbers, mr, packet_io, core, host, udp, rails_io, packet, xdp, verbs, shm, seal_io,
          crypto, seal, common}},
        {live, {base}},
        {loop, {base, mr, common, forking, entry}},
        {objects, {base, random_numbers, mr, common, forking, entry, loop}},
        {completion, {base, common, loop, objects}},
        {memory, {base, mr, hmem, common, loop, objects, completion}},
        {matching, {base, completion}},
        {trigger, {base, common, loop, objects, completion}},
        {endpoint,
         {base, random_numbers, mr, hmem, packet_io, operation, engine, progress, common, forking, entry,
          loop, live, objects, completion, memory, matching, trigger}},
        {calls, {base, common, loop, objects, completion, memory, trigger, endpoint}},
        {provider, {base, common, entry, loop, objects, completion, memory, trigger, endpoint, calls}},
    };
}

/// From the ground up.
inline const std::vector<Room>& rooms()
{
    static const std::vector<Room> table = [] {
        std::vector<Room> all;
        for (const auto& floor : {ground_rooms(), backend_rooms(), engine_rooms(), provider_rooms()}) {
            all.insert(all.end(), floor.begin(), floor.end());
        }
        return all;
    }();
    return table;
}

/// Calls that only the provider, and a backend for the system's sake, may make.
inline constexpr const char* passed_in =
    R"(\b(steady_clock|system_clock|high_resolution_clock|clock_gettime|gettimeofday|)"
    R"(timespec_get|__rdtsc|getenv|secure_getenv|random_device|getrandom|getentropy|)"
    R"(arc4random|srand|rand|time)\b(?=\s*(\(|::|\{|\w+\s*[;({])))";
inline constexpr const char* locks =
    R"(\b(mutex|shared_mutex|recursive_mutex|lock_guard|unique_lock|)"
    R"(scoped_lock|pthread_mutex_\w+|pthread_spin_\w+|condition_variable)\b)";

} // namespace srd::test
