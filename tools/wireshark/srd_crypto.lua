-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- SHA-256, HMAC, AES-128-GCM and ChaCha20-Poly1305 in Lua, for Wiresharks whose Lua has no cipher (those before
-- 4.4). It opens what was captured; nothing is kept secret by it, so it takes no care of how long it takes.
-- Strings in and out; words are 32 bits, and may be negative where the library's are.
local bits = rawget(_G, "bit32") or rawget(_G, "bit") or load([[return {
    band = function(a, b) return a & b end,
    bor = function(a, b) return (a | b) & 0xffffffff end,
    bxor = function(a, ...) for i = 1, select("#", ...) do a = a ~ (select(i, ...)) end return a & 0xffffffff end,
    bnot = function(a) return ~a & 0xffffffff end,
    lshift = function(a, n) return a << n & 0xffffffff end,
    rshift = function(a, n) return (a & 0xffffffff) >> n end,
    rol = function(a, n) a = a & 0xffffffff return (a << n | a >> (32 - n)) & 0xffffffff end }]])()
local band, bor, bxor, bnot = bits.band, bits.bor, bits.bxor, bits.bnot
local lshift, rshift, rol = bits.lshift, bits.rshift, bits.rol or bits.lrotate
local char = string.char
local mask = 0xffffffff

local Crypto = { bits = { bxor = bxor, rol = rol } }

-- The word at `at` of a string (from 1), the most significant byte first.
local function word(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    return bor(bor(lshift(a, 24), lshift(b, 16)), bor(lshift(c, 8), d))
end

local function little_word(s, at)
    local d, c, b, a = s:byte(at, at + 3)
    return bor(bor(lshift(a, 24), lshift(b, 16)), bor(lshift(c, 8), d))
end

local function of_word(w)
    return char(rshift(w, 24), band(rshift(w, 16), 255), band(rshift(w, 8), 255), band(w, 255))
end

local function of_little_word(w)
    return char(band(w, 255), band(rshift(w, 8), 255), band(rshift(w, 16), 255), rshift(w, 24))
end

local function exclusive(a, b)
    local out = {}
    for i = 1, #a do
        out[i] = char(bxor(a:byte(i), b:byte(i)))
    end
    return table.concat(out)
end
Crypto.exclusive = exclusive

-- Fills up with zeros to a multiple of 16 bytes.
local function padded(s)
    return s .. ("\0"):rep(-#s % 16)
end

-- ---------------------------------------------------------------------------------------------------------
-- SHA-256 (FIPS 180-4): the constants are fractions of roots of primes

local function fraction(value)
    return math.floor((value - math.floor(value)) * 4294967296)
end

local round_constants, initial = {}, {}
do
    local candidate, found = 2, 0
    while found < 64 do
        local prime = true
        for divisor = 2, math.floor(math.sqrt(candidate)) do
            prime = prime and candidate % divisor ~= 0
        end
        if prime then
            found = found + 1
            round_constants[found] = fraction(candidate ^ (1 / 3))
            initial[found] = found <= 8 and fraction(math.sqrt(candidate)) or nil
        end
        candidate = candidate + 1
    end
end

local function sha_block(state, s, at, w)
    for i = 1, 16 do
        w[i] = word(s, at + 4 * (i - 1))
    end
    for i = 17, 64 do
        local x, y = w[i - 15], w[i - 2]
        w[i] = band(w[i - 16] + bxor(rol(x, 25), rol(x, 14), rshift(x, 3)) + w[i - 7]
            + bxor(rol(y, 15), rol(y, 13), rshift(y, 10)), mask)
    end
    local a, b, c, d, e, f, g, h = (table.unpack or unpack)(state)
    for i = 1, 64 do
        local one = h + bxor(rol(e, 26), rol(e, 21), rol(e, 7)) + bxor(band(e, f), band(bnot(e), g))
            + round_constants[i] + w[i]
        local two = bxor(rol(a, 30), rol(a, 19), rol(a, 10)) + bxor(band(a, b), band(a, c), band(b, c))
        h, g, f, e, d, c, b, a = g, f, e, band(d + one, mask), c, b, a, band(one + two, mask)
    end
    for i, value in ipairs { a, b, c, d, e, f, g, h } do
        state[i] = band(state[i] + value, mask)
    end
end

function Crypto.sha256(s)
    local state, w = {}, {}
    for i = 1, 8 do
        state[i] = initial[i]
    end
    local size = #s * 8
    s = s .. "\128" .. ("\0"):rep((55 - #s) % 64) .. of_word(math.floor(size / 4294967296)) .. of_word(size % 4294967296)
    for at = 1, #s, 64 do
        sha_block(state, s, at, w)
    end
    local out = {}
    for i = 1, 8 do
        out[i] = of_word(state[i])
    end
    return table.concat(out)
end

function Crypto.hmac(key, s)
    key = #key > 64 and Crypto.sha256(key) or key
    key = key .. ("\0"):rep(64 - #key)
    return Crypto.sha256(exclusive(key, ("\92"):rep(64)) .. Crypto.sha256(exclusive(key, ("\54"):rep(64)) .. s))
end

-- HKDF-Expand-Label with the prefix of protocol.md, section 13; `size` up to 32 bytes.
function Crypto.label(secret, name, context, size)
    name = "srd 1 " .. name
    local info = char(0, size) .. char(#name) .. name .. char(#context) .. context
    return Crypto.hmac(secret, info .. "\1"):sub(1, size)
end

-- ---------------------------------------------------------------------------------------------------------
-- AES-128 (FIPS 197), encryption only

local sbox, t0 = {}, {}
do
    local function double(x)
        return band(bxor(lshift(x, 1), x >= 128 and 0x11b or 0), 255)
    end
    local p, q = 1, 1
    repeat -- p by 3, q by its inverse
        p = bxor(p, double(p))
        for _, n in ipairs { 1, 2, 4 } do
            q = band(bxor(q, lshift(q, n)), 255)
        end
        q = q >= 128 and bxor(q, 9) or q
        local x = bor(q, lshift(q, 8)) -- rotations of a byte
        sbox[p] = band(bxor(x, rshift(x, 7), rshift(x, 6), rshift(x, 5), rshift(x, 4), 0x63), 255)
    until p == 1
    sbox[0] = 0x63
    for i = 0, 255 do
        local s = sbox[i]
        local twice = double(s)
        t0[i] = bor(bor(lshift(twice, 24), lshift(s, 16)), bor(lshift(s, 8), bxor(twice, s)))
    end
end

local t1, t2, t3 = {}, {}, {}
for i = 0, 255 do
    t1[i], t2[i], t3[i] = rol(t0[i], 24), rol(t0[i], 16), rol(t0[i], 8)
end

local function substituted(w)
    return bor(bor(lshift(sbox[rshift(w, 24)], 24), lshift(sbox[band(rshift(w, 16), 255)], 16)),
        bor(lshift(sbox[band(rshift(w, 8), 255)], 8), sbox[band(w, 255)]))
end

local function expanded(key)
    local w = { word(key, 1), word(key, 5), word(key, 9), word(key, 13) }
    local constant = 1
    for i = 5, 44 do
        local x = w[i - 1]
        if i % 4 == 1 then
            x = bxor(substituted(rol(x, 8)), lshift(constant, 24))
            constant = constant < 128 and constant * 2 or 0x1b
        end
        w[i] = bxor(w[i - 4], x)
    end
    return w
end

-- One block, as four words.
local function aes(w, a, b, c, d)
    a, b, c, d = bxor(a, w[1]), bxor(b, w[2]), bxor(c, w[3]), bxor(d, w[4])
    for i = 5, 40, 4 do
        a, b, c, d =
            bxor(t0[rshift(a, 24)], t1[band(rshift(b, 16), 255)], t2[band(rshift(c, 8), 255)], t3[band(d, 255)], w[i]),
            bxor(t0[rshift(b, 24)], t1[band(rshift(c, 16), 255)], t2[band(rshift(d, 8), 255)], t3[band(a, 255)], w[i + 1]),
            bxor(t0[rshift(c, 24)], t1[band(rshift(d, 16), 255)], t2[band(rshift(a, 8), 255)], t3[band(b, 255)], w[i + 2]),
            bxor(t0[rshift(d, 24)], t1[band(rshift(a, 16), 255)], t2[band(rshift(b, 8), 255)], t3[band(c, 255)], w[i + 3])
    end
    local function last(x, y, z, v, key)
        return bxor(key, bor(bor(lshift(sbox[rshift(x, 24)], 24), lshift(sbox[band(rshift(y, 16), 255)], 16)),
            bor(lshift(sbox[band(rshift(z, 8), 255)], 8), sbox[band(v, 255)])))
    end
    return last(a, b, c, d, w[41]), last(b, c, d, a, w[42]), last(c, d, a, b, w[43]), last(d, a, b, c, w[44])
end

-- ---------------------------------------------------------------------------------------------------------
-- GCM (NIST SP 800-38D) with IVs of 12 bytes

-- Multiples of H by four bits, and what leaves at the end comes back at the front.
local folded = {}
for i, value in ipairs { 0x0000, 0x1c20, 0x3840, 0x2460, 0x7080, 0x6ca0, 0x48c0, 0x54e0, 0xe100, 0xfd20, 0xd940, 0xc560,
    0x9180, 0x8da0, 0xa9c0, 0xb5e0 } do
    folded[i - 1] = lshift(value, 16)
end

local function multiples(a, b, c, d)
    local m = { [0] = { 0, 0, 0, 0 }, [8] = { a, b, c, d } }
    for _, i in ipairs { 4, 2, 1 } do
        local back = band(d, 1) == 1 and 0xe1000000 or 0
        d = bor(rshift(d, 1), lshift(c, 31))
        c = bor(rshift(c, 1), lshift(b, 31))
        b = bor(rshift(b, 1), lshift(a, 31))
        a = bxor(rshift(a, 1), back)
        m[i] = { a, b, c, d }
    end
    for _, i in ipairs { 2, 4, 8 } do
        for j = 1, i - 1 do
            local x, y = m[i], m[j]
            m[i + j] = { bxor(x[1], y[1]), bxor(x[2], y[2]), bxor(x[3], y[3]), bxor(x[4], y[4]) }
        end
    end
    return m
end

local function ghash(m, s)
    local z = { 0, 0, 0, 0 }
    for at = 1, #s, 16 do
        for i = 1, 4 do
            z[i] = bxor(z[i], word(s, at + 4 * (i - 1)))
        end
        local a, b, c, d = 0, 0, 0, 0
        for i = 4, 1, -1 do
            local x = z[i]
            for shift = 0, 28, 4 do
                local out = folded[band(d, 15)]
                local by = m[band(rshift(x, shift), 15)]
                d = bxor(bor(rshift(d, 4), lshift(c, 28)), by[4])
                c = bxor(bor(rshift(c, 4), lshift(b, 28)), by[3])
                b = bxor(bor(rshift(b, 4), lshift(a, 28)), by[2])
                a = bxor(rshift(a, 4), out, by[1])
            end
        end
        z[1], z[2], z[3], z[4] = a, b, c, d
    end
    return of_word(z[1]) .. of_word(z[2]) .. of_word(z[3]) .. of_word(z[4])
end

local Gcm = {}
Gcm.__index = Gcm

function Crypto.aes_128_gcm(key)
    local w = expanded(key)
    return setmetatable({ w = w, m = multiples(aes(w, 0, 0, 0, 0)) }, Gcm)
end

local function counted(size)
    return of_word(math.floor(size * 8 / 4294967296)) .. of_word(size * 8 % 4294967296)
end

-- The plaintext; nil if the tag is wrong.
function Gcm:open(iv, data, ciphertext, tag)
    local i1, i2, i3 = word(iv, 1), word(iv, 5), word(iv, 9)
    local a, b, c, d = aes(self.w, i1, i2, i3, 1)
    local hash = ghash(self.m, padded(data) .. padded(ciphertext) .. counted(#data) .. counted(#ciphertext))
    if exclusive(hash, of_word(a) .. of_word(b) .. of_word(c) .. of_word(d)) ~= tag then
        return nil
    end
    local text, out = padded(ciphertext), {}
    for block = 0, #text / 16 - 1 do
        local at = 16 * block + 1
        a, b, c, d = aes(self.w, i1, i2, i3, block + 2)
        out[#out + 1] = of_word(bxor(a, word(text, at))) .. of_word(bxor(b, word(text, at + 4)))
            .. of_word(bxor(c, word(text, at + 8))) .. of_word(bxor(d, word(text, at + 12)))
    end
    return table.concat(out):sub(1, #ciphertext)
end

-- ---------------------------------------------------------------------------------------------------------
-- ChaCha20-Poly1305 (RFC 8439)

local function chacha_block(key, counter, iv)
    local start = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }
    for i = 0, 7 do
        start[5 + i] = little_word(key, 1 + 4 * i)
    end
    start[13] = counter
    for i = 0, 2 do
        start[14 + i] = little_word(iv, 1 + 4 * i)
    end
    local x = { (table.unpack or unpack)(start) }
    local function quarter(a, b, c, d)
        x[a] = band(x[a] + x[b], mask) x[d] = rol(bxor(x[d], x[a]), 16)
        x[c] = band(x[c] + x[d], mask) x[b] = rol(bxor(x[b], x[c]), 12)
        x[a] = band(x[a] + x[b], mask) x[d] = rol(bxor(x[d], x[a]), 8)
        x[c] = band(x[c] + x[d], mask) x[b] = rol(bxor(x[b], x[c]), 7)
    end
    for _ = 1, 10 do
        for i = 1, 4 do
            quarter(i, 4 + i, 8 + i, 12 + i)
        end
        for i = 0, 3 do
            quarter(1 + i, 5 + (i + 1) % 4, 9 + (i + 2) % 4, 13 + (i + 3) % 4)
        end
    end
    local out = {}
    for i = 1, 16 do
        out[i] = of_little_word(band(x[i] + start[i], mask))
    end
    return table.concat(out)
end

-- 130 bits as ten digits of 13 bits: what products add up to fits a double.
local function digits(s)
    local out, value, count, at = {}, 0, 0, 1
    for i = 1, 10 do
        while count < 13 do
            value = value + (s:byte(at) or 0) * 2 ^ count
            count, at = count + 8, at + 1
        end
        out[i] = value % 8192
        value, count = math.floor(value / 8192), count - 13
    end
    return out
end

-- Brings each digit below 2^13. Returns what is above 2^130, in its units.
local function carried(h)
    local carry = 0
    for i = 1, 10 do
        h[i] = h[i] + carry
        carry = math.floor(h[i] / 8192)
        h[i] = h[i] % 8192
    end
    return carry
end

-- The same modulo 2^130 - 5: five times what is above comes back.
local function reduced(h)
    local above = carried(h)
    h[1] = h[1] + 5 * above
end

local function poly1305(key, s)
    local clamp = key:sub(1, 16):gsub("()(.)", function(at, byte)
        local keep = (at % 4 == 0 and 15) or (at % 4 == 1 and at > 1 and 252) or 255
        return char(band(byte:byte(), keep))
    end)
    local r, h = digits(clamp), digits("")
    for at = 1, #s, 16 do
        local block = digits(s:sub(at, at + 15) .. "\1")
        local sum = {}
        for i = 1, 10 do
            h[i] = h[i] + block[i]
        end
        for i = 1, 10 do
            local digit = 0
            for j = 1, 10 do
                local k = i - j + 1 -- r's digit; beyond 2^130 comes back five times
                digit = digit + h[j] * (k >= 1 and r[k] or 5 * r[k + 10])
            end
            sum[i] = digit
        end
        h = sum
        reduced(h)
        reduced(h)
    end
    reduced(h)
    local less = { (table.unpack or unpack)(h) } -- minus 2^130 - 5
    less[1] = less[1] + 5
    if carried(less) > 0 then
        h = less
    end
    local out, value, count, digit, carry = {}, 0, 0, 1, 0
    for i = 1, 16 do
        while count < 8 do
            value = value + (h[digit] or 0) * 2 ^ count
            count, digit = count + 13, digit + 1
        end
        local sum = value % 256 + key:byte(16 + i) + carry
        out[i], carry = char(math.floor(sum % 256)), math.floor(sum / 256)
        value, count = math.floor(value / 256), count - 8
    end
    return table.concat(out)
end

local ChaCha = {}
ChaCha.__index = ChaCha

function Crypto.chacha20_poly1305(key)
    return setmetatable({ key = key }, ChaCha)
end

local function little_counted(size)
    return of_little_word(size) .. "\0\0\0\0"
end

-- The plaintext; nil if the tag is wrong.
function ChaCha:open(iv, data, ciphertext, tag)
    local one_time = chacha_block(self.key, 0, iv):sub(1, 32)
    if poly1305(one_time, padded(data) .. padded(ciphertext) .. little_counted(#data) .. little_counted(#ciphertext))
        ~= tag then
        return nil
    end
    local out = {}
    for at = 1, #ciphertext, 64 do
        local text = ciphertext:sub(at, at + 63)
        out[#out + 1] = exclusive(text, chacha_block(self.key, 1 + (at - 1) / 64, iv))
    end
    return table.concat(out)
end

return Crypto
