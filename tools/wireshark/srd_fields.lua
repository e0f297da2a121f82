-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- The fields that Wireshark knows of srd, made from the wire table: one for each field of a layout, one for each
-- flag, and those that the dissector computes. `srd.part.offset` is the field `offset` of PartFrame.

-- What a layout's fields are called, and its flags.
local naming = {
    PacketHeader = { "srd", "packet_flag" },
    AckBlock = { "srd.ack", "ack_flag" },
    MarkBlock = { "srd.marks" },
    FragmentHeader = { "srd.fragment" },
    HelloTrailer = { "srd.trailer" },
    ShmMessage = { "srd.shm" },
    VerbsMessage = { "srd.verbs" },
    MessageData = { "srd.cq_data" },
    SourceEpoch = { "srd.source_epoch" },
    MessagePiece = { "srd.piece" },
    MessageHandle = { "srd.delivery_handle" },
    MessageFrame = { "srd.message", "frame_flag" },
    PartFrame = { "srd.part", "frame_flag" },
    UnscheduledMessage = { "srd.unscheduled_message" },
    UnscheduledBytes = { "srd.unscheduled_bytes" },
    RequestFrame = { "srd.request", "frame_flag" },
    GrantFrame = { "srd.grant" },
    DataFrame = { "srd.data", "data_flag" },
    DeliveredFrame = { "srd.delivered" },
    HelloFrame = { "srd.hello", "hello_flag" },
    CloseFrame = { "srd.close" },
    WriteFrame = { "srd.write", "rma_flag" },
    WriteTotal = { "srd.write_total" },
    ReadFrame = { "srd.read", "rma_flag" },
    AtomicFrame = { "srd.atomic", "atomic_flag" },
    AtomicRange = { "srd.range" },
    ResultFrame = { "srd.result" },
    FaultFrame = { "srd.fault" },
    MtuProbeFrame = { "srd.mtu_probe", "question_flag" },
    RailsFrame = { "srd.rails", "question_flag" },
}
local in_hex = { connection = 1, incarnation = 1, tag = 1, key = 1, address = 1, nonce = 1, proof = 1, key_id = 1,
    queue_pair = 1, told = 1, features = 1 }
local in_bytes = { ["HelloFrame.address"] = 1, ["ShmMessage.magic"] = 1, ["VerbsMessage.magic"] = 1 }
-- Fields whose values have names: by layout and field, the list in the wire table.
local values_of = {
    ["FaultFrame.cause"] = "fault_cause", ["AtomicFrame.operation"] = "fi_op",
    ["AtomicFrame.datatype"] = "fi_datatype", ["HelloTrailer.offer"] = "cipher_offer",
    ["ShmMessage.kind"] = "bypass_kind", ["VerbsMessage.kind"] = "bypass_kind",
}
local makers = { [1] = ProtoField.uint8, [2] = ProtoField.uint16, [3] = ProtoField.uint24, [4] = ProtoField.uint32,
    [8] = ProtoField.uint64 }

-- { value = name } of a list of the wire table.
local function names_of(list)
    local names = {}
    for _, entry in ipairs(list) do
        names[entry[2]] = entry[1]
    end
    return names
end

return function(wire)
    local F = { all = {}, layout = {}, flags = {}, names = {} }

    local function keep(field)
        F.all[#F.all + 1] = field
        return field
    end

    local function field_of(layout, prefix, name, size)
        if name == "type" then
            return nil -- srd.frame, at the head of every frame
        end
        local title = name:gsub("_", " ")
        local abbreviation = name == "value" and prefix or prefix .. "." .. name
        if not makers[size] or in_bytes[layout .. "." .. name] then
            return keep(ProtoField.bytes(abbreviation, title))
        end
        local values = values_of[layout .. "." .. name]
        local base = (in_hex[name] or name == "flags") and base.HEX or base.DEC
        return keep(makers[size](abbreviation, title, base, values and names_of(wire[values])))
    end

    local function add_flags(layout, prefix, list)
        F.flags[layout] = {}
        for _, flag in ipairs(wire[list]) do
            table.insert(F.flags[layout], { name = flag[1], bit = flag[2],
                field = keep(ProtoField.bool(prefix .. ".flags." .. flag[1], flag[1]:gsub("_", " "), 8, nil, flag[2])) })
        end
    end

    for _, list in ipairs { "frame_type", "fault_cause", "fi_op", "fi_datatype", "cipher", "cipher_offer", "bypass_kind" } do
        F.names[list] = names_of(wire[list])
    end
    for layout, definition in pairs(wire.layouts) do
        local name = assert(naming[layout], "srd: no name for the layout " .. layout)
        local fields = {}
        for _, field in ipairs(definition.fields) do
            table.insert(fields, { name = field[1], offset = field[2], size = field[3],
                field = field_of(layout, name[1], field[1], field[3]) })
        end
        F.layout[layout] = { size = definition.size, fields = fields }
        if name[2] then
            add_flags(layout, name[1], name[2])
        end
    end

    -- What no layout has.
    F.ack = keep(ProtoField.none("srd.ack", "acknowledgement"))
    F.sealed = keep(ProtoField.none("srd.sealed", "sealed"))
    F.frame = keep(ProtoField.uint8("srd.frame", "frame", base.DEC, F.names.frame_type))
    F.payload = keep(ProtoField.bytes("srd.payload", "payload"))
    F.operand = keep(ProtoField.bytes("srd.atomic.operand", "operand"))
    F.compare = keep(ProtoField.bytes("srd.atomic.compare", "comparand"))
    F.rail = keep(ProtoField.ipv6("srd.rails.address", "further address"))
    F.padding = keep(ProtoField.bytes("srd.mtu_probe.padding", "padding"))
    F.bitmap = keep(ProtoField.bytes("srd.ack.bitmap", "bitmap"))
    F.range = keep(ProtoField.string("srd.ack.range", "arrived"))
    F.missing = keep(ProtoField.string("srd.ack.missing", "missing"))
    F.family = keep(ProtoField.uint16("srd.address.family", "family", base.DEC, { [2] = "IPv4", [10] = "IPv6" }))
    F.port = keep(ProtoField.uint16("srd.address.port", "port"))
    F.ipv4 = keep(ProtoField.ipv4("srd.address.ipv4", "address"))
    F.ipv6 = keep(ProtoField.ipv6("srd.address.ipv6", "address"))
    F.fragment_bytes = keep(ProtoField.bytes("srd.fragment.bytes", "bytes of the fragment"))

    F.counter = keep(ProtoField.uint64("srd.sealed.counter", "counter"))
    F.phase = keep(ProtoField.uint64("srd.sealed.phase", "key phase"))
    F.ciphertext = keep(ProtoField.bytes("srd.sealed.ciphertext", "ciphertext"))
    F.tag = keep(ProtoField.bytes("srd.sealed.tag", "tag"))
    F.sealed_key = keep(ProtoField.uint32("srd.sealed.key_id", "key id", base.HEX))
    F.sealed_cipher = keep(ProtoField.string("srd.sealed.cipher", "cipher"))
    F.opened = keep(ProtoField.bool("srd.sealed.opened", "opened"))
    F.authentic = keep(ProtoField.bool("srd.trailer.authentic", "authentic"))

    F.retransmission = keep(ProtoField.bool("srd.analysis.retransmission", "retransmission"))
    F.first_frame = keep(ProtoField.framenum("srd.analysis.first", "first transmission in frame", base.NONE,
        frametype.RETRANS_PREV))
    F.since_first = keep(ProtoField.relative_time("srd.analysis.since_first", "time since the first transmission"))
    F.other_path = keep(ProtoField.bool("srd.analysis.other_path", "on another path than the time before"))
    F.duplicate = keep(ProtoField.framenum("srd.analysis.duplicate", "same transmission in frame", base.NONE,
        frametype.DUP_ACK))
    F.out_of_order = keep(ProtoField.uint32("srd.analysis.out_of_order", "psns behind the newest"))
    F.gap = keep(ProtoField.uint32("srd.analysis.gap", "psns not seen before this one"))
    F.echo_frame = keep(ProtoField.framenum("srd.ack.echo_frame", "echoes the packet in frame", base.NONE,
        frametype.ACK))
    F.rtt = keep(ProtoField.relative_time("srd.ack.rtt", "time since that packet, without hold_ns"))
    F.unseen = keep(ProtoField.uint32("srd.ack.unseen", "acknowledges psns that were not captured, up to"))
    F.reassembled = keep(ProtoField.bool("srd.fragment.reassembled", "reassembled here"))
    F.liveness = keep(ProtoField.string("srd.liveness", "question whether the process reads"))
    return F
end
