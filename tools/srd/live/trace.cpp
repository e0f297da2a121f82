// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "live/trace.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <iomanip>
#include <memory>
#include <ostream>
#include <sstream>
#include <utility>

#include <fcntl.h>

#include <srd/file_descriptor.hpp>
#include <srd/status.hpp>

#include "live/process_files.hpp"
#include "wire/layout.hpp"

namespace srd::tool {
namespace {

std::optional<SocketAddress> address_in(std::span<const std::byte> bytes, std::size_t size)
{
    SocketAddress address;
    if (size == 0 || size > bytes.size() || !SocketAddress::parse(bytes.first(size), address)) {
        return std::nullopt;
    }
    return address;
}

bool is_sane(const TraceRecord& record) noexcept
{
    return record.kind < TraceKind::count_ && record.captured <= record.bytes.size() &&
           record.captured <= record.length;
}

/// False: it is no trace, or of another version.
bool read_trace(int file, TraceView& view)
{
    TraceHeader header;
    constexpr std::uint64_t most = 1U << 24;
    if (!read_at(file, 0, header) || header.magic != trace_magic || header.layout != TraceHeader{}.layout ||
        header.records == 0 || header.records > most) {
        return false;
    }
    view.pid = header.pid;
    view.count = header.next.load();
    view.address = address_in(header.address, header.address_size).value_or(SocketAddress{});
    const auto record = std::make_unique<TraceRecord>();
    for (std::uint64_t number = view.count - std::min(view.count, header.records); number < view.count;
         ++number) {
        const std::size_t offset = trace_offset + number % header.records * sizeof(TraceRecord);
        std::uint64_t after = 0;
        if (!read_at(file, offset, *record) || !read_at(file, offset, after) ||
            record->number.load() != number + 1 || after != number + 1 || !is_sane(*record)) {
            continue; // it was overwritten meanwhile, or its process was killed in the middle of it
        }
        view.events.push_back({record->at_ns,
                               record->kind,
                               address_in(record->address, record->address_size),
                               record->length,
                               record->value,
                               {record->bytes.begin(), record->bytes.begin() + record->captured}});
    }
    return true;
}

const char* name_of_frame(std::uint8_t type)
{
    static constexpr std::array names{"?",         "message", "part",   "request",  "grant", "data",
                                      "delivered", "hello",   "close",  "write",    "read",  "atomic",
                                      "result",    "fault",   "denied", "mtu probe"};
    return names[type < names.size() ? type : 0];
}

/// Header and first frame of a packet.
std::string words_of_packet(const TraceEvent& event)
{
    std::ostringstream text;
    text << event.length << " B";
    wire::Reader reader(event.bytes);
    const auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        return text.str();
    }
    if ((header->flags & wire::packet_flag::sequenced) != 0) {
        text << ", psn " << header->psn;
        if (header->attempt != 0) {
            text << " again (" << unsigned{header->attempt} << ")";
        }
    }
    text << ", path " << unsigned{header->path};
    if ((header->flags & wire::packet_flag::has_ack) != 0) {
        const auto block = reader.take<wire::AckBlock>();
        if (!block || ((block->flags & wire::ack_flag::marks) != 0 && !reader.take<wire::MarkBlock>()) ||
            !reader.take_bytes(
                std::min<std::size_t>(block->words * sizeof(std::uint64_t), reader.remaining()))) {
            return text.str();
        }
        text << ", ack up to " << block->cumulative << (block->words != 0 ? " and more" : "");
        if ((block->flags & wire::ack_flag::receiver_not_ready) != 0) {
            text << ", receiver not ready";
        }
    }
    if ((header->flags & wire::packet_flag::fragment) != 0) {
        text << ", fragment";
    } else if (reader.remaining() != 0) {
        text << ", " << name_of_frame(*reader.peek());
    }
    if ((header->flags & wire::packet_flag::ack_requested) != 0) {
        text << ", asks for an ack";
    }
    return text.str();
}

std::string time_of(std::uint64_t ns)
{
    const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000U);
    std::tm parts{};
    localtime_r(&seconds, &parts);
    std::ostringstream text;
    text << std::put_time(&parts, "%H:%M:%S") << '.' << std::setw(6) << std::setfill('0')
         << ns / 1000 % 1'000'000;
    return text.str();
}

std::string peer_of(const TraceEvent& event)
{
    return event.peer ? event.peer->text() : "a stranger";
}

// -- pcapng ------------------------------------------------------------------------------------

class Bytes {
public:
    template <typename T>
    void put(T value)
    {
        const auto* const begin = reinterpret_cast<const char*>(&value);
        text_.append(begin, sizeof(value));
    }
    void put_big16(std::size_t value)
    {
        text_ += static_cast<char>(value >> 8 & 0xff);
        text_ += static_cast<char>(value & 0xff);
    }
    void put_text(const std::string& text) { text_ += text; }
    void put_bytes(std::span<const std::byte> bytes)
    {
        text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    /// To a multiple of four.
    void pad() { text_.resize((text_.size() + 3) / 4 * 4, '\0'); }
    std::size_t size() const noexcept { return text_.size(); }
    const std::string& text() const noexcept { return text_; }

private:
    std::string text_;
};

void write_block(std::ostream& out, std::uint32_t type, Bytes body)
{
    body.pad();
    const auto size = static_cast<std::uint32_t>(body.size() + 12);
    Bytes block;
    block.put(type);
    block.put(size);
    block.put_text(body.text());
    block.put(size);
    out << block.text();
}

constexpr std::uint16_t option_comment = 1;

void put_option(Bytes& body, std::uint16_t code, const std::string& value)
{
    body.put(code);
    body.put(static_cast<std::uint16_t>(value.size()));
    body.put_text(value);
    body.pad();
}

/// The headers that the packet would have on the way, if it were sent by path 0.
void put_headers(Bytes& body, const SocketAddress& from, const SocketAddress& to, std::size_t length)
{
    const std::size_t udp = length + 8;
    if (from.family() == AF_INET) {
        body.put_big16(0x4500);
        body.put_big16(std::min<std::size_t>(udp + 20, 0xffff));
        body.put_big16(0);
        body.put_big16(0x4000); // not to be fragmented
        body.put_big16(0x4011); // time to live, UDP
        body.put_big16(0);      // no checksum
    } else {
        body.put_big16(0x6000);
        body.put_big16(0);
        body.put_big16(std::min<std::size_t>(udp, 0xffff));
        body.put_big16(0x1140);
    }
    body.put_bytes(from.host());
    body.put_bytes(to.host());
    body.put_big16(from.port());
    body.put_big16(to.port());
    body.put_big16(std::min<std::size_t>(udp, 0xffff));
    body.put_big16(0);
}

/// 0.0.0.0 or ::, for one of whom no address is known.
SocketAddress stranger_of(const SocketAddress& own)
{
    constexpr std::array<std::byte, 16> nobody{};
    return SocketAddress::of_host(own.family(), nobody);
}

void write_packet(std::ostream& out, const TraceView& trace, const TraceEvent& event,
                  const std::string& comment)
{
    const SocketAddress peer = event.peer.value_or(stranger_of(trace.address));
    const bool sent = event.kind == TraceKind::sent;
    std::vector<std::byte> bytes = event.bytes;
    constexpr std::size_t flags_at = 1;
    if (bytes.size() > flags_at) { // they are in clear
        bytes[flags_at] &= ~std::byte{wire::packet_flag::sealed | wire::packet_flag::authenticated};
    }
    Bytes packet;
    put_headers(packet, sent ? trace.address : peer, sent ? peer : trace.address, event.length);
    const std::size_t around = packet.size();
    packet.put_bytes(bytes);
    Bytes body;
    body.put(std::uint32_t{0}); // interface
    body.put(static_cast<std::uint32_t>(event.at_ns >> 32));
    body.put(static_cast<std::uint32_t>(event.at_ns));
    body.put(static_cast<std::uint32_t>(packet.size()));
    body.put(static_cast<std::uint32_t>(around + event.length));
    body.put_text(packet.text());
    body.pad();
    if (!comment.empty()) {
        constexpr std::size_t longest = 0xffff;
        put_option(body, option_comment,
                   comment.substr(0, std::min(comment.size() - 1, longest))); // its last \n goes
        put_option(body, 0, "");
    }
    write_block(out, 6, std::move(body));
}

} // namespace

std::vector<TraceView> read_traces(const std::vector<std::uint64_t>& pids, bool dead)
{
    std::vector<TraceView> traces;
    for_each_file(trace_prefix, [&](const std::string& path) {
        const FileDescriptor file = open_regular(path, O_RDONLY);
        TraceView view;
        view.file = path;
        if (!file.valid()) {
            return;
        }
        view.is_dead = is_ownerless(file.get());
        if ((!view.is_dead || dead || !pids.empty()) && read_trace(file.get(), view) &&
            (pids.empty() || std::find(pids.begin(), pids.end(), view.pid) != pids.end())) {
            traces.push_back(std::move(view));
        }
    });
    std::sort(traces.begin(), traces.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
    return traces;
}

std::string words_of(const TraceEvent& event)
{
    const std::string value = std::to_string(event.value);
    const auto cause = [&] {
        return event.value < static_cast<std::uint32_t>(Cause::count_)
                   ? to_string(static_cast<Cause>(event.value))
                   : "?";
    };
    switch (event.kind) {
    case TraceKind::sent:
    case TraceKind::received:
        return words_of_packet(event);
    case TraceKind::again_rack:
        return "psn " + value + " goes again: later ones have been acknowledged";
    case TraceKind::again_probe:
        return "psn " + value + " goes again: a probe, for nothing is acknowledged";
    case TraceKind::again_timeout:
        return "psn " + value + " goes again: timeout";
    case TraceKind::again_refused:
        return "psn " + value + " goes again: its receiver had no memory";
    case TraceKind::again_mtu:
        return "psn " + value + " goes again: it had become too long for the path";
    case TraceKind::path_avoided:
        return "path " + value + " is avoided for a while: it has lost a packet";
    case TraceKind::path_dark:
        return "path " + value + " is out of use: it has lost several packets in a row";
    case TraceKind::met:
        return "a connection begins, protocol version " + value;
    case TraceKind::failed:
        return std::string("the connection has failed: ") + cause();
    case TraceKind::mtu_fell:
        return "the path carries packets of at most " + value + " bytes now";
    case TraceKind::denied:
        return std::string("an access to memory is denied: ") + cause();
    case TraceKind::count_:
        break;
    }
    return "?";
}

void print_traces(const std::vector<TraceView>& traces, std::ostream& out)
{
    for (const TraceView& trace : traces) {
        out << "pid " << trace.pid << (trace.is_dead ? " (ended)" : "") << ", endpoint "
            << trace.address.text() << ": the last " << trace.events.size() << " of " << trace.count
            << " events\n";
        for (const TraceEvent& event : trace.events) {
            const char* const sign = event.kind == TraceKind::sent       ? "> "
                                     : event.kind == TraceKind::received ? "< "
                                                                         : "! ";
            out << "  " << time_of(event.at_ns) << ' ' << sign << std::left << std::setw(22) << peer_of(event)
                << ' ' << words_of(event) << '\n';
        }
    }
}

nlohmann::json traces_json(const std::vector<TraceView>& traces)
{
    static constexpr std::array kinds{"sent",          "received",      "again_rack", "again_probe",
                                      "again_timeout", "again_refused", "again_mtu",  "path_avoided",
                                      "path_dark",     "met",           "failed",     "mtu_fell",
                                      "denied"};
    static_assert(kinds.size() == static_cast<std::size_t>(TraceKind::count_));
    nlohmann::json result = nlohmann::json::array();
    for (const TraceView& trace : traces) {
        nlohmann::json events = nlohmann::json::array();
        for (const TraceEvent& event : trace.events) {
            nlohmann::json one{{"time_ns", event.at_ns},
                               {"kind", kinds[static_cast<std::size_t>(event.kind)]},
                               {"text", words_of(event)}};
            if (event.peer) {
                one["peer"] = event.peer->text();
            }
            one[event.is_packet() ? "length" : "value"] = event.is_packet() ? event.length : event.value;
            events.push_back(std::move(one));
        }
        result.push_back({{"pid", trace.pid},
                          {"ended", trace.is_dead},
                          {"endpoint", trace.address.text()},
                          {"count", trace.count},
                          {"events", std::move(events)}});
    }
    return {{"traces", std::move(result)}};
}

void write_pcapng(const std::vector<TraceView>& traces, std::ostream& out)
{
    Bytes section;
    section.put(std::uint32_t{0x1a2b3c4d});
    section.put(std::uint16_t{1});
    section.put(std::uint16_t{0});
    section.put(~std::uint64_t{0}); // of unknown length
    write_block(out, 0x0a0d0d0a, std::move(section));
    Bytes interface;
    constexpr std::uint16_t raw_ip = 101;
    interface.put(raw_ip);
    interface.put(std::uint16_t{0});
    interface.put(std::uint32_t{0});             // no limit
    put_option(interface, 9, std::string(1, 9)); // times in nanoseconds
    put_option(interface, 0, "");
    write_block(out, 1, std::move(interface));
    for (const TraceView& trace : traces) {
        const TraceEvent* packet = nullptr;
        std::string comment; // on it
        std::string since;
        for (const TraceEvent& event : trace.events) {
            if (!event.is_packet()) {
                since += peer_of(event) + ": " + words_of(event) + '\n';
                continue;
            }
            if (packet != nullptr) {
                write_packet(out, trace, *packet, comment);
            }
            packet = &event;
            comment = std::exchange(since, {});
        }
        if (packet != nullptr) {
            write_packet(out, trace, *packet, comment + since);
        }
    }
}

} // namespace srd::tool
