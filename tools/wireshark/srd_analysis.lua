-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- What can be told of a packet only from those before it: who its sender is, whether it is a repetition, which
-- packets an acknowledgement means. Everything is computed when a frame is seen first, in the order of the
-- capture, and remembered for when it is shown again.
--
-- A direction is named by the connection identifier in its packets, as a string of 8 bytes. The identifier
-- belongs to the receiver; the hellos tell which two belong together.
local none = ("\0"):rep(8)
local remembered = 4096 -- psns of one direction, four windows

return function(wire)
    local A = {}
    local directions, sides, peers, results

    function A.reset()
        directions = {} -- by the receiver's identifier: newest psn, records of the last ones, fragments
        sides = {}      -- by identifier: what the hello of its owner said
        peers = {}      -- by identifier: that of the other side
        results = {}    -- by frame and place in it
    end
    A.reset()

    -- The result of compute() at the first time, and the same later.
    function A.once(frame, place, compute)
        local of_frame = results[frame]
        if not of_frame then
            of_frame = {}
            results[frame] = of_frame
        end
        if of_frame[place] == nil then
            of_frame[place] = compute() or false
        end
        return of_frame[place] or nil
    end

    -- a - b of two sequence numbers, which wrap.
    local function distance(a, b)
        local d = (a - b) % 4294967296
        return d < 2147483648 and d or d - 4294967296
    end

    -- A hello in a packet to `connection`. `said`: connection, incarnation and address as bytes, first_psn,
    -- key_id and offer if authenticated.
    function A.hello(connection, said)
        sides[said.connection] = said
        if connection ~= none then
            peers[said.connection] = connection
            peers[connection] = said.connection
        end
    end

    -- What the hellos said of the two ends of a packet to `connection`: sender, receiver; nil if unknown.
    function A.ends(connection)
        local other = peers[connection]
        return other and sides[other], sides[connection]
    end

    local function direction_of(connection)
        local direction = directions[connection]
        if not direction then
            local sender = A.ends(connection)
            direction = { records = {}, newest = sender and (sender.first_psn - 1) % 4294967296 }
            directions[connection] = direction
        end
        return direction
    end

    -- A psn for the first time: { gap }, { out_of_order } or nothing to tell.
    local function first_time(direction, p, result)
        local ahead = direction.newest and distance(p.psn, direction.newest) or 1
        if ahead <= 0 then
            result.out_of_order = -ahead
            return
        end
        direction.newest = p.psn
        if ahead > 1 then
            result.gap = ahead - 1
        end
    end

    -- A sequenced packet `p`: connection, psn, attempt, path, piece (offset of the fragment, or 0), frame, time.
    function A.sequenced(p)
        local direction = direction_of(p.connection)
        local slot = p.psn % remembered
        local record = direction.records[slot]
        local result = { retransmission = p.attempt > 0 or nil }
        if not record or record.psn ~= p.psn then
            record = { psn = p.psn, frame = p.frame, time = p.time, sent = {} }
            direction.records[slot] = record
            first_time(direction, p, result)
        else
            result.first_frame, result.since_first = record.frame, p.time - record.time
            if record.attempt ~= p.attempt then
                result.other_path, result.path_before = record.path ~= p.path, record.path
            end
        end
        local transmission = p.attempt .. "/" .. p.piece
        if record.sent[transmission] and p.attempt < 255 then
            result.duplicate = record.sent[transmission].frame
        else
            record.sent[transmission] = { frame = p.frame, time = p.time }
            record.sent[p.attempt] = record.sent[p.attempt] or record.sent[transmission]
        end
        record.path, record.attempt = p.path, p.attempt
        return result
    end

    -- A block in a packet to `connection`: which packet it echoes, and what it acknowledges without our having
    -- seen it.
    function A.acknowledged(connection, block, time)
        local other = peers[connection]
        local direction = other and directions[other]
        if not direction then
            return nil
        end
        local result = {}
        local record = direction.records[block.echo_psn % remembered]
        local sent = record and record.psn == block.echo_psn and record.sent[block.echo_attempt]
        if block.echo and sent then
            result.echo_frame, result.rtt = sent.frame, time - sent.time - block.hold_ns / 1e9
        end
        if direction.newest and distance(block.highest, direction.newest) > 0 then
            result.unseen = block.highest
        end
        return result
    end

    -- A piece of a psn's frames. All of them, as a string, from the packet that completes them; else nil.
    function A.fragment(p, offset, total, bytes)
        local direction = direction_of(p.connection)
        local whole = direction.fragments
        if not whole or whole.psn ~= p.psn or whole.total ~= total then
            whole = { psn = p.psn, total = total, pieces = {} }
            direction.fragments = whole
        end
        if whole.done then
            return nil
        end
        local pieces = whole.pieces
        for at = 1, #bytes, wire.fragment_unit do
            pieces[(offset + at - 1) / wire.fragment_unit] = bytes:sub(at, at + wire.fragment_unit - 1)
        end
        local all = {}
        for unit = 0, math.ceil(total / wire.fragment_unit) - 1 do
            if not pieces[unit] then
                return nil
            end
            all[#all + 1] = pieces[unit]
        end
        whole.done, whole.pieces = true, nil
        return table.concat(all)
    end

    -- The psns that a block tells of, as ranges: { first, last } of what has arrived beyond `cumulative`, the
    -- same of what is missing before the last of them, and the highest that has arrived (cumulative - 1: no
    -- bit is set).
    function A.ranges(cumulative, bitmap)
        local arrived, missing = {}, {}
        local highest = (cumulative - 1) % 4294967296
        local last_set = -1
        for index = 1, #bitmap do
            local byte = bitmap:byte(index)
            for bit = 0, 7 do
                local at = (index - 1) * 8 + bit
                if math.floor(byte / 2 ^ bit) % 2 == 1 then
                    if last_set == at - 1 and #arrived > 0 then
                        arrived[#arrived][2] = (cumulative + at) % 4294967296
                    else
                        arrived[#arrived + 1] = { (cumulative + at) % 4294967296, (cumulative + at) % 4294967296 }
                        missing[#missing + 1] = { (cumulative + last_set + 1) % 4294967296,
                            (cumulative + at - 1) % 4294967296 }
                    end
                    last_set, highest = at, (cumulative + at) % 4294967296
                end
            end
        end
        return arrived, missing, highest
    end

    return A
end
