// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a Remote that has the job's key does with its packets.
#include <algorithm>
#include <cstring>

#include "fuzz/remote.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "seal/job_key.hpp"

namespace srd::fuzz {

std::unique_ptr<EndpointSeals> make_seals()
{
    static const std::shared_ptr<const KeyRing> ring = [] {
        std::string error;
        const auto secrets = load_crypto_library(error) == nullptr
                                 ? std::nullopt
                                 : JobSecrets::parse(pattern(0, 0, job_secret_min_size), error);
        auto made = secrets ? KeyRing::make(*secrets, error) : std::nullopt;
        if (!made) {
            fail(error.c_str());
        }
        return std::make_shared<const KeyRing>(std::move(*made));
    }();
    static std::uint8_t number = 0;
    Secret<KeyExchange::size> secret;
    secret.bytes()[1] = static_cast<std::byte>(number ^= 1);
    return std::make_unique<EndpointSeals>(ring, CipherOffer::prefers_aes, KeyExchange::make(secret.bytes()));
}

namespace {

wire::PacketHeader header_of(std::span<const std::byte> packet)
{
    wire::PacketHeader header;
    std::memcpy(&header, packet.data(), sizeof(header));
    return header;
}

bool is_hello(std::span<const std::byte> packet)
{
    return packet.size() >= sizeof(wire::PacketHeader) + sizeof(wire::HelloFrame) &&
           (header_of(packet).flags & wire::packet_flag::sequenced) == 0 &&
           packet[sizeof(wire::PacketHeader)] == static_cast<std::byte>(wire::FrameType::hello);
}

} // namespace

/// What the victim has sent, without its seal; nothing if it was for an earlier connection.
std::span<const std::byte> Remote::opened(std::span<const std::byte> packet)
{
    const std::uint8_t flags = header_of(packet).flags;
    if ((flags & wire::packet_flag::sealed) == 0) {
        if (!is_hello(packet)) {
            fail("the victim says in clear what is to be sealed");
        }
        return packet;
    }
    SealedSession* const session = seals_->session(0);
    opened_.assign(packet.begin(), packet.end());
    if (session == nullptr || session->open(opened_) != OpenResult::opened) {
        return {};
    }
    return std::span(opened_).subspan(SealedSession::counter_size, opened_.size() - SealedSession::overhead);
}

/// `packet`: the victim's hello, which says so.
void Remote::begin_session(const Answer& answer, std::span<const std::byte> packet)
{
    const HelloProof proof = seals_->verify(packet);
    if (proof.key == nullptr) {
        fail("the victim's hello does not prove itself");
    }
    const SocketAddress self = Victim::address_of(route_);
    const SocketAddress victim = Victim::own_address();
    if (!seals_->begin(0, wire::protocol_version, {self_.incarnation, self_.connection, self.bytes()},
                       {answer.incarnation, answer.connection, victim.bytes()}, proof)) {
        fail("no session");
    }
}

void Remote::choose_meddling(Input& input)
{
    const std::uint8_t how = input.byte();
    meddling_ = how < 208   ? Meddling::none
                : how < 224 ? Meddling::clear
                : how < 240 ? Meddling::changed
                            : Meddling::repeated;
    changed_at_ = meddling_ == Meddling::changed ? input.word() : 0;
}

/// Unless it goes through memory of this host.
void Remote::seal(Made& made)
{
    SealedSession* const session = seals_->session(0);
    if (made.finished || made.remote_length != 0 || made.bytes.size() < sizeof(wire::PacketHeader)) {
        return;
    }
    wire::PacketHeader header = header_of(made.bytes);
    if (is_hello(made.bytes)) {
        header.flags |= wire::packet_flag::authenticated;
        std::memcpy(made.bytes.data(), &header, sizeof(header));
        const std::size_t size = made.bytes.size();
        made.bytes.resize(size + EndpointSeals::trailer_size);
        seals_->append_trailer(std::span(made.bytes).first(size), &made.bytes[size], seals_->keys_of(0));
    } else if (session != nullptr) {
        header.flags |= wire::packet_flag::sealed;
        std::memcpy(made.bytes.data(), &header, sizeof(header));
        sealed_.resize(made.bytes.size() + SealedSession::overhead);
        const iovec whole{made.bytes.data(), made.bytes.size()};
        if (session->seal({&whole, 1}, sealed_.data()) != sealed_.size()) {
            fail("nothing can be sealed any more");
        }
        made.bytes = sealed_;
    }
    made.finished = true;
}

std::uint32_t Remote::seal_all()
{
    std::uint32_t bad = 0;
    if (meddling_ == Meddling::clear) {
        const std::span<const Made> all = std::span(made_).first(made_count_);
        bad = static_cast<std::uint32_t>(
            std::count_if(all.begin(), all.end(), [](const Made& made) { return made.remote_length == 0; }));
    } else {
        for (Made& made : std::span(made_).first(made_count_)) {
            seal(made);
        }
    }
    if (meddling_ == Meddling::changed && made_count_ != 0 && made_[made_count_ - 1].remote_length == 0 &&
        !made_[made_count_ - 1].bytes.empty()) {
        Bytes& bytes = made_[made_count_ - 1].bytes;
        sealed_.clear(); // which has not arrived as it was
        ++bad;
        bytes[changed_at_ % bytes.size()] ^= std::byte{1};
    }
    if (meddling_ == Meddling::repeated && !sealed_.empty()) {
        begin().bytes = sealed_;
        ++bad;
    }
    meddling_ = Meddling::none;
    return bad;
}

} // namespace srd::fuzz
