-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- Which connection a packet names: in clear, the first half of the identifier is bound to what else the packet
-- says before its frames (protocol.md, section 2; src/transport/wire/binding.hpp).
local folder = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "./"
local bits = dofile(folder .. "srd_crypto.lua").bits
local floor, char = math.floor, string.char

-- The word at `at` (from 1), the least significant byte first.
local function word(bytes, at)
    local a, b, c, d = bytes:byte(at, at + 3)
    return a + 256 * (b + 256 * (c + 256 * d))
end

local function mix(mixed, with)
    local value = bits.bxor(mixed, with) % 4294967296
    local low = value % 65536
    local high = floor(value / 65536)
    return bits.rol((low * 2654435761 + high * 2654435761 % 65536 * 65536) % 4294967296, 15)
end

-- `has`: whether flags have a flag; `flag`, `ack_flag`: by name. Returns connection(bytes), of a packet's bytes: the
-- identifier, as 8 bytes.
return function(wire, has, flag, ack_flag, frame_type)
    local sizes = {}
    for name, layout in pairs(wire.layouts) do
        sizes[name] = layout.size
    end

    local function bound_size(bytes, flags)
        local stop = sizes.PacketHeader
        if has(flags, flag.has_ack) then
            local marks = has(bytes:byte(stop + 15) or 0, ack_flag.marks) and sizes.MarkBlock or 0
            stop = stop + sizes.AckBlock + marks + 8 * math.min(bytes:byte(stop + 16) or 0, wire.max_ack_words)
        end
        if has(flags, flag.fragment) then
            stop = stop + sizes.FragmentHeader
        elseif not has(flags, flag.sequenced) then
            local kind = bytes:byte(stop + 1)
            if kind == frame_type.rails then
                stop = stop + sizes.RailsFrame + 16 * (bytes:byte(stop + 4) or 0)
            else
                stop = stop + (kind == frame_type.hello and sizes.HelloFrame or sizes.MtuProbeFrame)
            end
        end
        return floor(math.min(stop, #bytes) / 4) * 4
    end

    return function(bytes)
        local flags = bytes:byte(2)
        if has(flags, flag.sealed) or has(flags, flag.authenticated) then
            return bytes:sub(9, 16)
        end
        local mixed = mix(mix(0, word(bytes, 1)), word(bytes, 5))
        for at = sizes.PacketHeader + 1, bound_size(bytes, flags), 4 do
            mixed = mix(mixed, word(bytes, at))
        end
        local first = bits.bxor(word(bytes, 9), mixed) % 4294967296
        return char(first % 256, floor(first / 256) % 256, floor(first / 65536) % 256, floor(first / 16777216)) ..
            bytes:sub(13, 16)
    end
end
