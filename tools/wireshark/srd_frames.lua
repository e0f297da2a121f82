-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- Layouts and frames: bytes to tree items. A packet is read through a cursor { tvb, start, at, stop, tree,
-- summary, cut }, which nothing is read behind; what does not fit is malformed, by the rules of
-- src/transport/wire/frames.cpp. `cut`: the capture has only the beginning of the packet.
local Malformed = {}

local function malformed(...)
    error(setmetatable({ string.format(...) }, Malformed), 0)
end

-- The numbers of a list of the wire table by their names.
local function values(list)
    local by_name = {}
    for _, entry in ipairs(list) do
        by_name[entry[1]] = entry[2]
    end
    return by_name
end

return function(wire, F, experts)
    local Frames = { values = values }
    local message_flag, rma_flag = values(wire.frame_flag), values(wire.rma_flag)
    local atomic_flag, probe_flag = values(wire.atomic_flag), values(wire.question_flag)
    local hello_flag, data_flag = values(wire.hello_flag), values(wire.data_flag)
    local fault_cause = values(wire.fault_cause)

    local function has(flags, flag)
        return math.floor(flags / flag) % 2 == 1
    end
    Frames.has = has

    -- Runs `read`; what is malformed in it becomes an expert info at the cursor. True if nothing was.
    function Frames.guarded(cursor, read)
        local good, failure = pcall(read)
        if good then
            return true
        elseif getmetatable(failure) ~= Malformed then
            error(failure, 0)
        elseif cursor.cut and cursor.at_end then
            table.insert(cursor.summary, "[the rest was not captured]")
            return false
        end
        cursor.tree:add_proto_expert_info(experts.malformed, "Malformed: " .. failure[1])
        table.insert(cursor.summary, "[malformed: " .. failure[1] .. "]")
        return false
    end

    Frames.malformed = malformed

    -- Ends the reading of a packet whose rest was not captured.
    function Frames.end_if_cut(cursor)
        if cursor.cut then
            cursor.at_end = true
            malformed("the rest was not captured")
        end
    end

    -- The next `size` bytes, which the cursor steps over.
    local function take(cursor, size, what)
        if cursor.at + size > cursor.stop then
            Frames.end_if_cut(cursor)
            malformed("%s needs %d bytes, %d are left", what, size, cursor.stop - cursor.at)
        end
        local range = cursor.tvb(cursor.at, size)
        cursor.at = cursor.at + size
        return range
    end
    Frames.take = take

    local function take_bytes(cursor, size, field, what)
        if size > 0 then
            cursor.tree:add(field, take(cursor, size, what))
        end
    end

    local function add_flags(layout, item, range, flags)
        local names = {}
        local known = 0
        for _, flag in ipairs(F.flags[layout]) do
            item:add(flag.field, range)
            known = known + flag.bit
            if has(flags, flag.bit) then
                names[#names + 1] = flag.name
            end
        end
        item:append_text(#names > 0 and " (" .. table.concat(names, ", ") .. ")" or "")
        if flags > known then
            malformed("unknown flags 0x%02x in %s", flags, layout)
        end
        return table.concat(names, ", ")
    end

    -- A little-endian number of 8 bytes.
    local function number_of(bytes)
        local half = {}
        for i = 1, 2 do
            local a, b, c, d = bytes:byte(4 * i - 3, 4 * i)
            half[i] = a + 256 * (b + 256 * (c + 256 * d))
        end
        return UInt64.new(half[1], half[2])
    end

    -- Adds the fields of a layout. Returns their values by name: numbers up to 4 bytes, UInt64, raw bytes.
    function Frames.layout(cursor, layout)
        local definition = F.layout[layout]
        local range = take(cursor, definition.size, layout)
        local v = { range = range }
        for _, field in ipairs(definition.fields) do
            local place = range(field.offset, field.size)
            local item
            if layout == "PacketHeader" and field.name == "connection" then -- as it is meant: srd_binding.lua
                item = cursor.tree:add(field.field, place, number_of(cursor.connection))
            elseif field.field then
                item = cursor.tree:add_le(field.field, place)
            end
            if field.size <= 4 then
                v[field.name] = place:le_uint()
            elseif field.size == 8 then
                v[field.name] = place:le_uint64()
            else
                v[field.name] = place:raw()
            end
            if field.name == "flags" and F.flags[layout] then
                v.flag_names = add_flags(layout, item, place, v.flags)
            end
        end
        return v
    end

    -- A sockaddr_in or sockaddr_in6 in `range`; anything else is left as bytes. Returns it as text.
    function Frames.address(tree, range)
        local size = range:len()
        local family = size >= 2 and range(0, 2):le_uint() or 0
        local at, length, field = 4, 4, F.ipv4
        if family == 10 then
            at, length, field = 8, 16, F.ipv6
        end
        if (family ~= 2 and family ~= 10) or size < at + length then
            return "address of " .. size .. " bytes"
        end
        tree:add_le(F.family, range(0, 2))
        tree:add(F.port, range(2, 2))
        tree:add(field, range(at, length))
        local text = family == 2 and tostring(range(at, 4):ipv4()) or "[" .. tostring(range(at, 16):ipv6()) .. "]"
        return text .. ":" .. range(2, 2):uint()
    end

    -- The fields that the flags of message, part and request announce.
    local function optional(cursor, flags)
        if has(flags, message_flag.has_data) then
            Frames.layout(cursor, "MessageData")
        end
        if has(flags, message_flag.want_delivered) then
            Frames.layout(cursor, "MessageHandle")
        end
    end

    local function ends_packet(cursor, what)
        if cursor.at ~= cursor.stop then
            malformed("%d bytes behind %s, which ends its packet", cursor.stop - cursor.at, what)
        end
    end

    local function offset_of(layout, name)
        for _, field in ipairs(F.layout[layout].fields) do
            if field.name == name then
                return field.offset
            end
        end
    end

    -- Where the sender has bytes, which are the end of their packet. Returns how many they are.
    local function names(cursor, pieces, what)
        Frames.layout(cursor, "SourceEpoch")
        if pieces > wire.max_iov then
            malformed("%d pieces", pieces)
        end
        local sum = UInt64(0)
        for _ = 1, pieces do
            local length = Frames.layout(cursor, "MessagePiece").length
            if length > UInt64(wire.max_named) - sum then
                malformed("%s of more than %d bytes", what, wire.max_named)
            end
            sum = sum + length
        end
        ends_packet(cursor, what)
        if sum == UInt64(0) then
            malformed("%s of no bytes", what)
        end
        return sum
    end

    -- By type: reads the frame's fields and what follows them, and returns what the summary says of it.
    local read = {}

    function read.message(cursor)
        local v = Frames.layout(cursor, "MessageFrame")
        optional(cursor, v.flags)
        take_bytes(cursor, v.length, F.payload, "payload")
        return string.format("seq %d, %d B", v.sequence, v.length)
    end

    function read.part(cursor)
        local v = Frames.layout(cursor, "PartFrame")
        optional(cursor, v.flags)
        local message = { total = v.total }
        if has(v.flags, message_flag.unscheduled) then
            message = Frames.layout(cursor, "UnscheduledMessage")
        end
        take_bytes(cursor, v.length, F.payload, "payload")
        ends_packet(cursor, "a part")
        if v.length == 0 or v.length >= message.total or v.offset + v.length > v.total or v.total > wire.max_eager_total then
            malformed("a part of %d bytes at %d of %d", v.length, v.offset, v.total)
        end
        return string.format("seq %d, %d..%d of %s B", v.sequence, v.offset, v.offset + v.length, tostring(message.total))
    end

    function read.request(cursor)
        local v = Frames.layout(cursor, "RequestFrame")
        if has(v.flags, message_flag.want_delivered) then
            malformed("a request that wants delivered")
        end
        optional(cursor, v.flags)
        if has(v.flags, message_flag.unscheduled) then
            Frames.layout(cursor, "UnscheduledBytes")
        end
        if v.pieces > 0 then
            Frames.layout(cursor, "SourceEpoch")
        end
        if v.pieces > wire.max_iov then
            malformed("%d pieces", v.pieces)
        end
        for _ = 1, v.pieces do
            Frames.layout(cursor, "MessagePiece")
        end
        return string.format("seq %d, %s B, handle %d", v.sequence, tostring(v.total), v.handle)
    end

    function read.grant(cursor)
        local v = Frames.layout(cursor, "GrantFrame")
        return string.format("seq %d, up to %s, handle %d", v.sequence, tostring(v.limit), v.sender_handle)
    end

    function read.data(cursor)
        local v = Frames.layout(cursor, "DataFrame")
        if has(v.flags, data_flag.named) then
            Frames.layout(cursor, "MessageHandle")
            if not has(v.flags, data_flag.answers_read) then
                malformed("data of a message that is named")
            end
            return string.format("read %d, %s+%s, named", v.sequence, tostring(v.offset),
                tostring(names(cursor, v.length, "named data")))
        end
        take_bytes(cursor, v.length, F.payload, "payload")
        ends_packet(cursor, "data")
        return string.format("%s %d, %s+%d", v.flags == 1 and "read" or "seq", v.sequence, tostring(v.offset), v.length)
    end

    function read.delivered(cursor)
        local v = Frames.layout(cursor, "DeliveredFrame")
        return string.format("seq %d, handle %d", v.sequence, v.handle)
    end

    function read.hello(cursor)
        local v = Frames.layout(cursor, "HelloFrame")
        -- What is behind is a later release's.
        cursor.at = cursor.stop
        local place = offset_of("HelloFrame", "address")
        if v.address_length == 0 or v.address_length > wire.max_address_size or v.connection == UInt64(0)
            or v.incarnation == UInt64(0) or v.max_packet < wire.min_max_packet then
            malformed("a hello with an address of %d bytes, packets of %d bytes, or a name of 0", v.address_length,
                v.max_packet)
        end
        local refused = has(v.flags, hello_flag.no_room) and experts.no_room
            or has(v.flags, hello_flag.key_wanted) and experts.key_wanted
        if refused then
            cursor.tree:add_proto_expert_info(refused)
        end
        v.address = v.range(place, v.address_length):raw()
        cursor.hello = v
        return string.format("of %s%s", Frames.address(cursor.tree, v.range(place, v.address_length)),
            v.flag_names ~= "" and ": " .. v.flag_names or "")
    end

    function read.close(cursor)
        Frames.layout(cursor, "CloseFrame")
        cursor.tree:add_proto_expert_info(experts.close)
        return "the sender's endpoint goes away"
    end

    function read.write(cursor)
        local v = Frames.layout(cursor, "WriteFrame")
        local total
        if not has(v.flags, rma_flag.whole) then
            total = Frames.layout(cursor, "WriteTotal").value
        end
        if has(v.flags, rma_flag.has_data) then
            Frames.layout(cursor, "MessageData")
        end
        if has(v.flags, rma_flag.named) then
            local size = names(cursor, v.length, "a named write")
            if total and size > total then
                malformed("%s bytes of a write of %s", tostring(size), tostring(total))
            end
            return string.format("%s%s B to 0x%s, key 0x%s, named", tostring(size),
                total and " of " .. tostring(total) or "", v.address:tohex(), v.key:tohex())
        end
        take_bytes(cursor, v.length, F.payload, "payload")
        if total and (v.length == 0 or cursor.at ~= cursor.stop) and total ~= UInt64(v.length) then
            malformed("a piece of a write that shares its packet or is empty")
        end
        return string.format("%d%s B to 0x%s, key 0x%s", v.length, total and " of " .. tostring(total) or "",
            v.address:tohex(), v.key:tohex())
    end

    function read.read(cursor)
        local v = Frames.layout(cursor, "ReadFrame")
        return string.format("read %d, %d B at %s, from 0x%s, key 0x%s", v.sequence, v.length, tostring(v.offset),
            v.address:tohex(), v.key:tohex())
    end

    function read.atomic(cursor)
        local v = Frames.layout(cursor, "AtomicFrame")
        if v.ranges == 0 or v.ranges > wire.max_iov or v.length > wire.max_atomic_size then
            malformed("an atomic of %d bytes in %d ranges", v.length, v.ranges)
        end
        local sum = UInt64(0)
        for _ = 1, v.ranges do
            sum = sum + Frames.layout(cursor, "AtomicRange").length
        end
        if sum ~= UInt64(v.length) then
            malformed("ranges of %s bytes for an atomic of %d", tostring(sum), v.length)
        end
        if has(v.flags, atomic_flag.has_operand) then
            take_bytes(cursor, v.length, F.operand, "operands")
        end
        if has(v.flags, atomic_flag.has_compare) then
            take_bytes(cursor, v.length, F.compare, "comparands")
        end
        return string.format("seq %d, %s of %s, %d B", v.sequence, F.names.fi_op[v.operation] or v.operation,
            F.names.fi_datatype[v.datatype] or v.datatype, v.length)
    end

    function read.result(cursor)
        local v = Frames.layout(cursor, "ResultFrame")
        take_bytes(cursor, v.length, F.payload, "payload")
        return string.format("seq %d, %d B", v.sequence, v.length)
    end

    function read.denied(cursor)
        local v = Frames.layout(cursor, "FaultFrame")
        local cause = v.cause < fault_cause.not_read and F.names.fault_cause[v.cause]
            or malformed("unknown cause %d", v.cause)
        cursor.tree:add_proto_expert_info(experts.fault, "Refused by the target: " .. cause)
        return string.format("%s, seq %d, handle %d", cause, v.sequence, v.handle)
    end

    function read.fault(cursor)
        local cause = cursor.stop - cursor.at > 1 and cursor.tvb(cursor.at + 1, 1):uint()
        if cause ~= fault_cause.not_read and cause ~= fault_cause.unreadable then
            return read.denied(cursor)
        end
        local v = Frames.layout(cursor, "FaultFrame")
        return string.format("%s, seq %d, handle %d", F.names.fault_cause[cause], v.sequence, v.handle)
    end

    function read.mtu_probe(cursor)
        local v = Frames.layout(cursor, "MtuProbeFrame")
        local padding = cursor.stop - cursor.at
        if has(v.flags, probe_flag.answer) then
            ends_packet(cursor, "the answer to a probe")
            return string.format("%d, %d B: answer", v.number, v.size)
        elseif v.size ~= cursor.stop - cursor.start and not cursor.cut then
            malformed("a probe of %d bytes that says %d", cursor.stop - cursor.start, v.size)
        end
        take_bytes(cursor, padding, F.padding, "padding")
        return string.format("%d, %d B", v.number, v.size)
    end

    function read.rails(cursor)
        local v = Frames.layout(cursor, "RailsFrame")
        if cursor.stop - cursor.at < 16 * v.count then
            malformed("%d of %d bytes of addresses", cursor.stop - cursor.at, 16 * v.count)
        end
        for _ = 1, v.count do
            take_bytes(cursor, 16, F.rail, "address")
        end
        ends_packet(cursor, "further addresses")
        return string.format("way %d%s, %d more addresses", v.way, has(v.flags, probe_flag.answer) and ": answer" or "",
            v.count)
    end

    -- All frames up to the end of the packet. `allowed`: by type, which a packet of this kind may have.
    function Frames.all(cursor, allowed)
        while cursor.at < cursor.stop do
            local packet, start = cursor.tree, cursor.at
            local type = cursor.tvb(start, 1):uint()
            local name = F.names.frame_type[type]
            local item = packet:add(F.frame, cursor.tvb(start, 1))
            cursor.tree = item
            if not name or not allowed[name] then
                malformed(name and "a %s frame in such a packet" or "unknown frame type %d", name or type)
            end
            local text = read[name](cursor)
            cursor.tree = packet
            item:set_len(cursor.at - start)
            item:append_text(": " .. text)
            table.insert(cursor.summary, name .. " (" .. text .. ")")
        end
    end

    for _, entry in ipairs(wire.frame_type) do
        assert(read[entry[1]], "srd: nobody reads frames of type " .. entry[1])
    end
    return Frames
end
