// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/handshake.hpp"

namespace srd {

std::byte* Handshake::write_hello(std::byte* out, const Identity& identity, std::uint32_t max_packet,
                                  std::uint32_t first_psn, std::uint8_t round_trip) noexcept
{
    SRD_DCHECK(hello_due_ && identity.incarnation != 0 && identity.address_length != 0);
    wire::HelloFrame frame = identity.hello();
    frame.flags = static_cast<std::uint8_t>((is_reply_ ? 0 : wire::hello_flag::answer_wanted) |
                                            (knows_remote() ? wire::hello_flag::met : 0));
    frame.first_psn = first_psn;
    frame.max_packet = max_packet;
    frame.connection = rx_connection_;
    frame.round_trip = round_trip;
    hello_due_ = hellos_more_ != 0;
    hellos_more_ = hello_due_ ? (hellos_more_ - 1U) & (most_asked - 1) : 0;
    return wire::put(out, frame);
}

} // namespace srd
