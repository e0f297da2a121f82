-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- Wireshark's dissector for srd (docs/protocol.md, version 2; docs/wireshark.md tells how to use it):
--
--     tshark -X lua_script:srd.lua -o udp.try_heuristic_first:TRUE -r capture.pcapng
--
-- It finds srd by the form of its packets, in UDP from any port to any port and in the payload of RDMA's
-- datagrams. A captured datagram may hold several packets: Linux shows what leaves in one batch as one.
local folder = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "./"
local function load_part(name)
    return dofile(folder .. name)
end

local srd = Proto("srd", "Scalable Reliable Datagrams")
local wire = load_part("srd_wire.lua")
local F = load_part("srd_fields.lua")(wire)
local analysis = load_part("srd_analysis.lua")(wire)
local Seal = load_part("srd_seal.lua")

local experts = {
    malformed = ProtoExpert.new("srd.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR),
    not_opened = ProtoExpert.new("srd.not_opened", "Not opened: the tag is wrong under every key of the file",
        expert.group.DECRYPTION, expert.severity.WARN),
    forged = ProtoExpert.new("srd.forged", "Not authentic under this key", expert.group.DECRYPTION, expert.severity.WARN),
    retransmission = ProtoExpert.new("srd.retransmission", "Retransmission", expert.group.SEQUENCE, expert.severity.NOTE),
    duplicate = ProtoExpert.new("srd.duplicate", "Duplicate: the network, or the capture, has it twice",
        expert.group.SEQUENCE, expert.severity.NOTE),
    out_of_order = ProtoExpert.new("srd.out_of_order", "Out of order", expert.group.SEQUENCE, expert.severity.CHAT),
    gap = ProtoExpert.new("srd.gap", "Psns before this one were not seen yet", expert.group.SEQUENCE, expert.severity.CHAT),
    unseen = ProtoExpert.new("srd.unseen", "Acknowledges what was not captured", expert.group.SEQUENCE,
        expert.severity.NOTE),
    marked = ProtoExpert.new("srd.marked", "Packets bore ECN CE: congestion", expert.group.SEQUENCE,
        expert.severity.NOTE),
    not_ready = ProtoExpert.new("srd.not_ready", "The receiver has no memory for messages", expert.group.SEQUENCE,
        expert.severity.WARN),
    fault = ProtoExpert.new("srd.refused", "Refused by the target", expert.group.RESPONSE_CODE, expert.severity.WARN),
    no_room = ProtoExpert.new("srd.no_room", "The peer has no record left", expert.group.RESPONSE_CODE,
        expert.severity.WARN),
    key_wanted = ProtoExpert.new("srd.key_wanted", "The peer meets only those who have its job key",
        expert.group.RESPONSE_CODE, expert.severity.WARN),
    close = ProtoExpert.new("srd.closed", "The sender's endpoint goes away", expert.group.SEQUENCE, expert.severity.CHAT),
}
srd.fields = F.all
srd.experts = {}
for _, info in pairs(experts) do
    table.insert(srd.experts, info)
end
srd.prefs.key_file = Pref.string("Job key file", "",
    "The file of FI_SRD_JOB_KEY_FILE: opens what was sealed with AES-128-GCM, where the capture has the introductions")

local Frames = load_part("srd_frames.lua")(wire, F, experts)
local seal = Seal.new(wire, analysis)
local has = Frames.has
local flag, ack_flag = Frames.values(wire.packet_flag), Frames.values(wire.ack_flag)
local frame_type = Frames.values(wire.frame_type)
local connection_of = load_part("srd_binding.lua")(wire, has, flag, ack_flag, frame_type)
local header_size, ack_size = wire.layouts.PacketHeader.size, wire.layouts.AckBlock.size
local marks_size = wire.layouts.MarkBlock.size
local trailer_size, hello_size = wire.layouts.HelloTrailer.size, wire.layouts.HelloFrame.size
local sealed_overhead = wire.seal_counter_size + wire.seal_tag_size
local none = ("\0"):rep(8)

local in_sequenced, in_unsequenced = {}, { hello = true, close = true, mtu_probe = true, rails = true }
for _, entry in ipairs(wire.frame_type) do
    in_sequenced[entry[1]] = not in_unsequenced[entry[1]]
end

-- Bytes of an acknowledgement block with these flags, marks and bitmap included.
local function acknowledgement_size(flags, words)
    return ack_size + (has(flags, ack_flag.marks) and marks_size or 0) + 8 * words
end

-- ---------------------------------------------------------------------------------------------------------
-- Is it srd?

-- True if the bytes begin as a packet that srd would look at. `size`: its own, of which fewer may be captured.
local function is_packet(bytes, size)
    if #bytes < header_size or bytes:byte(1) ~= wire.protocol_version then
        return false
    end
    local flags, unknown = bytes:byte(2), connection_of(bytes) == none
    if flags >= 64 or (has(flags, flag.fragment) and not has(flags, flag.sequenced)) then
        return false
    elseif has(flags, flag.authenticated) then
        return flags == flag.authenticated and bytes:byte(17) == frame_type.hello
            and size == header_size + hello_size + trailer_size
    elseif has(flags, flag.sealed) then -- no counter reaches 2^60
        return #bytes >= header_size + sealed_overhead and not unknown and bytes:byte(24) < 16
    end
    local at = header_size + 1
    if has(flags, flag.has_ack) then
        local words = bytes:byte(at + 15)
        if unknown or not words or words > wire.max_ack_words then
            return false
        end
        at = at + acknowledgement_size(bytes:byte(at + 14), words)
    end
    if has(flags, flag.fragment) then
        return #bytes >= at + wire.layouts.FragmentHeader.size
    end
    local first = bytes:byte(at)
    if not first then
        return has(flags, flag.has_ack) and (#bytes < size or #bytes == at - 1 and not has(flags, flag.sequenced))
    end
    local name = F.names.frame_type[first]
    local allowed = has(flags, flag.sequenced) and in_sequenced or in_unsequenced
    return name ~= nil and allowed[name] and (not unknown or name == "hello")
end

local function is_bypass(bytes)
    return bytes:sub(1, 8) == wire.shm_magic and #bytes == wire.layouts.ShmMessage.size and "ShmMessage"
        or bytes:sub(1, 8) == wire.verbs_magic and #bytes == wire.layouts.VerbsMessage.size and "VerbsMessage"
end

-- How long each of the packets is that were captured as one datagram: all but the last are equally long, and
-- all begin with the same version and connection identifier.
local function segment_size(bytes)
    local half = bytes:sub(13, 16) -- of the identifier, which is as it is in all of them
    local at = half ~= none:sub(1, 4) and bytes:find(half, header_size + 13, true)
    while at do
        local size = at - 13
        local connection, all_begin = connection_of(bytes:sub(1, size)), true
        for start = size + 1, #bytes, size do
            local packet = bytes:sub(start, start + size - 1)
            all_begin = all_begin and #packet >= header_size and packet:byte(1) == wire.protocol_version
                and packet:byte(2) < 64 and connection_of(packet) == connection
        end
        if all_begin then
            return size
        end
        at = bytes:find(half, at + 1, true)
    end
    return #bytes
end

-- ---------------------------------------------------------------------------------------------------------
-- Parts of a packet

local function range_text(range)
    return range[1] == range[2] and tostring(range[1]) or range[1] .. "-" .. range[2]
end

local function seconds(value)
    local whole = math.floor(value)
    return NSTime.new(whole, math.floor((value - whole) * 1e9 + 0.5))
end

local function add_acknowledgement(cursor, packet, pinfo)
    local parent = cursor.tree
    local flags, words, size = 0, 0, ack_size
    if cursor.at + ack_size <= cursor.stop then
        flags, words = cursor.tvb(cursor.at + 14, 1):uint(), cursor.tvb(cursor.at + 15, 1):uint()
        size = acknowledgement_size(flags, words)
    end
    local item = parent:add(F.ack, cursor.tvb(cursor.at, math.min(size, cursor.stop - cursor.at)))
    cursor.tree = item
    local block = Frames.layout(cursor, "AckBlock")
    if words > wire.max_ack_words then
        Frames.malformed("an acknowledgement of %d words", words)
    end
    if has(flags, ack_flag.marks) then
        Frames.layout(cursor, "MarkBlock")
    end
    local bitmap = words > 0 and Frames.take(cursor, 8 * words, "the bitmap")
    local arrived, missing, highest = analysis.ranges(block.cumulative, bitmap and bitmap:raw() or "")
    local texts = {}
    if bitmap then
        local bits = item:add(F.bitmap, bitmap)
        for _, range in ipairs(arrived) do
            texts[#texts + 1] = range_text(range)
            bits:add(F.range, bitmap, texts[#texts])
        end
        for _, range in ipairs(missing) do
            bits:add(F.missing, bitmap, range_text(range))
        end
    end
    local text = "all before " .. block.cumulative .. (#texts > 0 and ", and " .. table.concat(texts, " ") or "")
    item:append_text(": " .. text)
    table.insert(cursor.summary, "ack (" .. text .. ")")

    local echo = has(block.flags, ack_flag.echo)
    local told = analysis.once(pinfo.number, packet.place .. "/ack", function()
        return analysis.acknowledged(packet.connection, { echo = echo, echo_psn = block.echo_psn, highest = highest,
            echo_attempt = block.echo_attempt, hold_ns = block.hold_ns }, pinfo.rel_ts)
    end)
    if told and told.echo_frame then
        item:add(F.echo_frame, told.echo_frame):set_generated()
        item:add(F.rtt, seconds(told.rtt)):set_generated()
    end
    if told and told.unseen then
        item:add(F.unseen, told.unseen):set_generated()
        item:add_proto_expert_info(experts.unseen)
    end
    if has(block.flags, ack_flag.marks) then
        item:add_proto_expert_info(experts.marked)
    end
    if has(block.flags, ack_flag.receiver_not_ready) then
        item:add_proto_expert_info(experts.not_ready)
        table.insert(cursor.summary, "[receiver not ready]")
    end
    cursor.tree = parent
end

-- What the psn tells: repetition, order, gaps.
local function add_sequence(tree, packet, pinfo, summary)
    local told = analysis.once(pinfo.number, packet.place, function()
        return analysis.sequenced({ connection = packet.connection, psn = packet.psn, attempt = packet.attempt,
            path = packet.path, piece = packet.piece, frame = pinfo.number, time = pinfo.rel_ts })
    end)
    if told.duplicate then
        tree:add(F.duplicate, told.duplicate):set_generated()
        tree:add_proto_expert_info(experts.duplicate)
        table.insert(summary, "[duplicate]")
    elseif told.retransmission then
        local item = tree:add(F.retransmission, true):set_generated()
        item:append_text(", attempt " .. packet.attempt .. ", on path " .. packet.path)
        if told.first_frame then
            tree:add(F.first_frame, told.first_frame):set_generated()
            tree:add(F.since_first, seconds(told.since_first)):set_generated()
        end
        if told.path_before then
            tree:add(F.other_path, told.other_path):set_generated()
            item:append_text(" (the one before: path " .. told.path_before .. ")")
        end
        tree:add_proto_expert_info(experts.retransmission)
        table.insert(summary, "[retransmission]")
    elseif told.out_of_order then
        tree:add(F.out_of_order, told.out_of_order):set_generated()
        tree:add_proto_expert_info(experts.out_of_order)
        table.insert(summary, "[out of order]")
    end
    if told.gap then
        tree:add(F.gap, told.gap):set_generated()
        tree:add_proto_expert_info(experts.gap)
    end
end

local function add_fragment(cursor, packet, pinfo)
    local header = Frames.layout(cursor, "FragmentHeader")
    Frames.end_if_cut(cursor)
    local bytes = Frames.take(cursor, math.max(cursor.stop - cursor.at, 1), "the fragment")
    cursor.tree:add(F.fragment_bytes, bytes)
    table.insert(cursor.summary, string.format("fragment (%d..%d of %d B)", header.offset,
        header.offset + bytes:len(), header.total))
    local whole = analysis.once(pinfo.number, packet.place .. "/whole", function()
        return analysis.fragment(packet, header.offset, header.total, bytes:raw())
    end)
    if whole then
        cursor.tree:add(F.reassembled, true):set_generated()
        cursor.tvb = ByteArray.new(whole, true):tvb("Frames of psn " .. packet.psn)
        cursor.start, cursor.at, cursor.stop = 0, 0, #whole
        Frames.all(cursor, in_sequenced)
    end
end

-- A hello's trailer, and what the analysis learns from the hello.
local function add_introduction(cursor, packet, pinfo, authenticated)
    local start, stop = cursor.start, cursor.stop
    if authenticated then
        cursor.stop = stop - trailer_size
    end
    Frames.all(cursor, in_unsequenced)
    local hello, trailer = cursor.hello, nil
    local said = hello and { connection = hello.range(16, 8):raw(), incarnation = hello.range(8, 8):raw(),
        first_psn = hello.first_psn, address = hello.address }
    if authenticated then
        cursor.stop = stop
        trailer = Frames.layout(cursor, "HelloTrailer")
        if not said or not F.names.cipher_offer[trailer.offer] then
            Frames.malformed("a trailer without a hello, or with the offer %d", trailer.offer)
        end
        said.key_id, said.offer, said.share = trailer.range(0, 4):raw(), trailer.offer, trailer.share
        local authentic = seal:is_authentic(said.key_id, cursor.tvb(start, stop - start - 16):raw(), trailer.mac)
        if authentic ~= nil then
            cursor.tree:add(F.authentic, authentic):set_generated()
        end
        if authentic == false then
            cursor.tree:add_proto_expert_info(experts.forged)
            return -- nothing of it is believed
        end
        table.insert(cursor.summary, "authenticated")
    end
    if said then
        analysis.once(pinfo.number, packet.place .. "/hello", function() analysis.hello(packet.connection, said) end)
    end
end

-- What follows the header in clear, or once it is opened.
local function add_contents(cursor, packet, pinfo)
    if has(packet.flags, flag.has_ack) then
        add_acknowledgement(cursor, packet, pinfo)
    end
    if has(packet.flags, flag.fragment) then
        add_fragment(cursor, packet, pinfo)
    elseif has(packet.flags, flag.sequenced) then
        Frames.all(cursor, in_sequenced)
    else
        add_introduction(cursor, packet, pinfo, has(packet.flags, flag.authenticated))
    end
end

local function add_sealed(cursor, packet, pinfo)
    local outside, stop = cursor.tree, cursor.stop
    local tree = outside:add(F.sealed, cursor.tvb(cursor.at, stop - cursor.at))
    local counter = Frames.take(cursor, wire.seal_counter_size, "the counter")
    tree:add_le(F.counter, counter)
    tree:add(F.phase, counter, counter:le_uint64():rshift(wire.seal_phase_bits)):set_generated()
    table.insert(cursor.summary, "sealed, counter " .. tostring(counter:le_uint64()))
    Frames.end_if_cut(cursor)
    if stop - cursor.at > wire.seal_tag_size then
        tree:add(F.ciphertext, Frames.take(cursor, stop - cursor.at - wire.seal_tag_size, "the ciphertext"))
    end
    tree:add(F.tag, Frames.take(cursor, wire.seal_tag_size, "the tag"))
    local told = analysis.once(pinfo.number, packet.place .. "/sealed", function()
        return seal:open(packet.connection, cursor.tvb(cursor.start, stop - cursor.start):raw())
    end)
    if told.key_number then
        tree:add(F.sealed_key, counter, told.key_number):set_generated()
        tree:add(F.sealed_cipher, told.cipher):set_generated()
    end
    tree:add(F.opened, told.contents ~= nil):set_generated()
    tree:append_text(told.contents and ": opened" or ": " .. told.reason)
    if told.wrong then
        tree:add_proto_expert_info(experts.not_opened)
    end
    if not told.contents then
        table.insert(cursor.summary, "[" .. told.reason .. "]")
    elseif #told.contents > 0 then
        cursor.tvb = ByteArray.new(told.contents, true):tvb("Opened")
        cursor.start, cursor.at, cursor.stop = -header_size, 0, #told.contents
        add_contents(cursor, packet, pinfo)
    end
end

-- The offset of the fragment in the packet at `start`, which may be shorter than it should be.
local function piece_of(tvb, start, flags, stop)
    local at = start + header_size
    if has(flags, flag.has_ack) then
        at = at + (at + 16 <= stop and acknowledgement_size(tvb(at + 14, 1):uint(), tvb(at + 15, 1):uint()) or ack_size)
    end
    return at + 4 <= stop and tvb(at, 4):le_uint() or 0
end

-- An ICMP message quotes a packet that was sent before: it tells nothing new.
local icmp_types = { Field.new("icmp.type"), Field.new("icmpv6.type") }
local function is_quoted()
    return icmp_types[1]() ~= nil or icmp_types[2]() ~= nil
end

-- One packet in tvb[start, stop).
local function add_packet(tvb, start, stop, place, pinfo, root)
    local tree = root:add(srd, tvb(start, stop - start))
    local cursor = { tvb = tvb, start = start, at = start, stop = stop, tree = tree, summary = {},
        cut = stop == tvb:len() and tvb:reported_len() > stop }
    Frames.guarded(cursor, function()
        cursor.connection = connection_of(tvb(start, stop - start):raw())
        local header = Frames.layout(cursor, "PacketHeader")
        if is_quoted() then
            table.insert(cursor.summary, "psn " .. header.psn .. ", quoted by ICMP")
            return
        end
        local packet = { place = place, flags = header.flags, path = header.path, attempt = header.attempt,
            psn = header.psn, connection = cursor.connection, piece = 0 }
        if has(packet.flags, flag.sequenced) then
            if has(packet.flags, flag.fragment) and not has(packet.flags, flag.sealed) then
                packet.piece = piece_of(tvb, start, packet.flags, stop)
            elseif has(packet.flags, flag.fragment) then -- its offset is sealed; its counter is its own
                packet.piece = tvb(start + header_size, math.min(8, stop - start - header_size)):raw()
            end
            table.insert(cursor.summary, "psn " .. packet.psn .. (packet.attempt > 0 and "#" .. packet.attempt or ""))
            add_sequence(tree, packet, pinfo, cursor.summary)
        end
        (has(packet.flags, flag.sealed) and add_sealed or add_contents)(cursor, packet, pinfo)
    end)
    local text = table.concat(cursor.summary, ", ")
    tree:append_text(": " .. text)
    return text
end

local function add_bypass(tvb, layout, root)
    local tree = root:add(srd, tvb())
    local cursor = { tvb = tvb, start = 0, at = 0, stop = tvb:len(), tree = tree }
    local message = Frames.layout(cursor, layout)
    local at = layout == "ShmMessage" and 44 or 28
    local text = string.format("%s %s of %s", layout == "ShmMessage" and "shared memory:" or "queue pairs:",
        F.names.bypass_kind[message.kind] or "unknown kind", Frames.address(tree, tvb(at, 28)))
    tree:append_text(": " .. text)
    return text
end

-- ---------------------------------------------------------------------------------------------------------
-- Wireshark's side

function srd.init()
    analysis.reset()
end

function srd.prefs_changed()
    local problem = seal:load(srd.prefs.key_file)
    if problem then
        report_failure("srd: " .. problem)
    end
end

-- The bytes that are srd's; 0: it is something else. (Called by its Lua name, for Proto.dissector would give
-- what it refuses to "data" and call that a success.)
local function dissect(tvb, pinfo, root)
    local bytes = tvb:raw()
    local bypass = is_bypass(bytes)
    local texts = {}
    if bypass then
        texts[1] = add_bypass(tvb, bypass, root)
    elseif not is_packet(bytes, tvb:reported_len()) then
        return 0
    else
        local size = segment_size(bytes)
        for start = 0, #bytes - 1, size do
            texts[#texts + 1] = add_packet(tvb, start, math.min(start + size, #bytes), #texts, pinfo, root)
        end
    end
    pinfo.cols.protocol = "SRD"
    pinfo.cols.info = table.concat(texts, " | ")
    return #bytes
end

srd.dissector = dissect

local function heuristic(tvb, pinfo, root)
    return dissect(tvb, pinfo, root) > 0
end

-- Whether a process reads (protocol.md, section 8): asked over TCP, answered by a byte.
local function liveness(tvb, pinfo, root)
    if tvb:raw() ~= wire.liveness_request then
        return false
    end
    root:add(srd, tvb()):add(F.liveness, tvb())
    pinfo.cols.protocol = "SRD"
    pinfo.cols.info = "does the process read?"
    return true
end

srd:register_heuristic("udp", heuristic)
srd:register_heuristic("infiniband.payload", heuristic)
srd:register_heuristic("tcp", liveness)
DissectorTable.get("udp.port"):add_for_decode_as(srd)
