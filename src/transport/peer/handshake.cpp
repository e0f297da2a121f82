// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/handshake.hpp"

namespace srd {

std::byte* Handshake::write_hello(std::byte* out, const Identity& identity, std::uint32_t first_psn) noexcept
{
    SRD_DCHECK(hello_due_ && identity.incarnation != 0 && identity.address_length != 0);
    wire::HelloFrame frame;
    frame.flags = is_reply_ ? 0 : wire::hello_flag::answer_wanted;
    frame.address_length = identity.address_length;
    frame.address = identity.address;
    frame.first_psn = first_psn;
    frame.incarnation = identity.incarnation;
    frame.connection = rx_connection_;
    frame.max_packet = identity.max_packet;
    frame.rx_buffer = identity.rx_buffer;
    hello_due_ = false;
    if (gone_news_ == GoneNews::heard) {
        gone_news_ = GoneNews::doubted;
    }
    return wire::put(out, frame);
}

} // namespace srd
