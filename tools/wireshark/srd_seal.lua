-- SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
--
-- Opens sealed packets (protocol.md, section 13) with the keys of a job key file. The keys of a connection come
-- from its introductions: where the capture has none of them, its packets stay closed.
local folder = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "./"
local crypto = dofile(folder .. "srd_crypto.lua")
local char = string.char

local function from_hex(text)
    return #text % 2 == 0 and not text:find("%X") and text:gsub("%x%x", function(pair)
        return char(tonumber(pair, 16))
    end) or nil
end

local alphabet = {}
for i = 1, 64 do
    alphabet[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):sub(i, i)] = i - 1
end
alphabet["-"], alphabet["_"] = 62, 63

local function from_base64(text)
    local out, value, count = {}, 0, 0
    for digit in text:gsub("=*$", ""):gmatch(".") do
        if not alphabet[digit] then
            return nil
        end
        value, count = value * 64 + alphabet[digit], count + 6
        if count >= 8 then
            count = count - 8
            out[#out + 1] = char(math.floor(value / 2 ^ count))
            value = value % 2 ^ count
        end
    end
    return table.concat(out)
end

-- The secrets in a key file, as job_key.cpp reads it: text of lines, or one key as a whole.
local function secrets_of(contents)
    if contents:find("[%z\1-\8\11\12\14-\31\127-\255]") then
        return { contents }
    end
    local secrets = {}
    for line in contents:gmatch("[^\n]+") do
        line = line:gsub("#.*", ""):gsub("%s", "")
        local secret = line ~= "" and (from_hex(line) or from_base64(line))
        if secret then
            secrets[#secrets + 1] = secret
        end
    end
    return secrets
end

-- The 8 bytes of a counter, the least significant first, as a number: exact below 2^53, as all real ones are.
local function number_of(bytes)
    local value = 0
    for i = #bytes, 1, -1 do
        value = value * 256 + bytes:byte(i)
    end
    return value
end

local Seal = {}
Seal.__index = Seal

function Seal.new(wire, analysis)
    local self = setmetatable({ wire = wire, analysis = analysis, keys = {}, count = 0, schedules = {} }, Seal)
    self.cipher = {}
    for _, entry in ipairs(wire.cipher) do
        self.cipher[entry[1]] = entry[2]
    end
    return self
end

-- Takes the keys of a file, instead of those before. What is wrong, or nil.
function Seal:load(name)
    self.keys, self.count, self.schedules = {}, 0, {}
    if name == "" then
        return nil
    end
    local file, problem = io.open(name, "rb")
    if not file then
        return problem
    end
    for _, secret in ipairs(secrets_of(file:read("*a"))) do
        if #secret >= self.wire.job_secret_min_size and #secret <= self.wire.job_secret_max_size then
            local root = crypto.hmac("srd 1 job key", secret)
            self.keys[crypto.label(root, "id", "", 4)] = { hello = crypto.label(root, "hello", "", 32),
                traffic = crypto.label(root, "traffic", "", 32) }
            self.count = self.count + 1
        end
    end
    file:close()
    return self.count == 0 and name .. " has no key" or nil
end

-- Whether `mac` is that of a hello; nil: it is under none of our keys.
function Seal:is_authentic(id, bytes, mac)
    local key = self.keys[id]
    return key and crypto.hmac(key.hello, bytes):sub(1, 16) == mac
end

local function agreed(one, other)
    return one ~= 0 and other ~= 0 and (one == 2 or other == 2) and "chacha20_poly1305" or "aes_128_gcm"
end

local function side(of)
    return of.incarnation .. of.connection .. char(#of.address) .. of.address
end

-- The keys of what `sender` sends to `receiver`: the secrets of its phases, as far as they are derived, the
-- cipher and IV of each, and the newest phase of which a packet was opened.
function Seal:schedule(sender, receiver, cipher)
    local context = char(self.wire.protocol_version, self.cipher[cipher]) .. side(sender) .. side(receiver)
    local name = sender.key_id .. context
    if not self.schedules[name] then
        local secret = crypto.label(self.keys[sender.key_id].traffic, "send", context, 32)
        self.schedules[name] = { secrets = { [0] = secret }, keys = {}, newest = 0 }
    end
    return self.schedules[name]
end

-- nil for a phase further ahead than one: nobody sends such, and nothing is computed for it.
local function phase_keys(schedule, cipher, phase, iv_size)
    if phase > schedule.newest + 1 then
        return nil
    elseif not schedule.keys[phase] then
        local secret = schedule.secrets[phase] or crypto.label(schedule.secrets[phase - 1], "next", "", 32)
        schedule.secrets[phase] = secret
        local key = crypto.label(secret, "key", "", cipher == "aes_128_gcm" and 16 or 32)
        schedule.keys[phase] = { aead = crypto[cipher](key), iv = crypto.label(secret, "iv", "", iv_size) }
    end
    return schedule.keys[phase]
end

-- Whether an end takes part in the exchange of keys, of which a capture does not tell the result.
local function exchanges(of)
    return of.share:find("[^%z]") ~= nil
end

-- A sealed packet to `connection`: { key_id, key_number, cipher } as far as they are known, and { contents } of what follows
-- the header or { reason } why not; `wrong` if the tag is.
function Seal:open(connection, packet)
    local sender, receiver = self.analysis.ends(connection)
    if not sender or not receiver or not sender.key_id or not receiver.key_id then
        return { reason = "introductions not captured" }
    end
    local told = { key_id = sender.key_id, key_number = number_of(sender.key_id), cipher = agreed(sender.offer, receiver.offer) }
    if not self.keys[sender.key_id] then
        told.reason = self.count == 0 and "no key file" or "key not in the file"
        return told
    elseif exchanges(sender) and exchanges(receiver) then
        told.reason = "keys were exchanged (FI_SRD_FORWARD_SECRECY)"
        return told
    end
    local header = self.wire.layouts.PacketHeader.size
    local ciphertext = header + self.wire.seal_counter_size
    local counter = packet:sub(header + 1, ciphertext)
    local phase = math.floor(number_of(counter) / 2 ^ self.wire.seal_phase_bits)
    local schedule = self:schedule(sender, receiver, told.cipher)
    local keys = phase_keys(schedule, told.cipher, phase, self.wire.seal_iv_size)
    if not keys then
        told.reason = "the counter is far ahead of those before it"
        return told
    end
    local iv = crypto.exclusive(keys.iv, "\0\0\0\0" .. counter:reverse())
    told.contents = keys.aead:open(iv, packet:sub(1, header), packet:sub(ciphertext + 1, -self.wire.seal_tag_size - 1),
        packet:sub(-self.wire.seal_tag_size))
    if told.contents then
        schedule.newest = math.max(schedule.newest, phase)
    else
        told.reason, told.wrong = "the tag is wrong", true
    end
    return told
end

return Seal
