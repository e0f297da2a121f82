// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages to and from the kernel about links, routes and neighbours (rtnetlink(7)), made and read by libmnl.
// For this room's .cpp files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

namespace srd {

/// A message to the kernel: a fixed part and attributes.
class NetlinkRequest {
public:
    /// `flags` beside NLM_F_REQUEST; with NLM_F_DUMP the answer is a list.
    template <typename Fixed>
    NetlinkRequest(std::uint16_t type, const Fixed& fixed, std::uint16_t flags = 0) noexcept
        : header_(mnl_nlmsg_put_header(bytes_.data()))
    {
        static_assert(NLMSG_SPACE(sizeof(Fixed)) + room_for_attributes <= sizeof(bytes_));
        header_->nlmsg_type = type;
        header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        *static_cast<Fixed*>(mnl_nlmsg_put_extra_header(header_, sizeof(Fixed))) = fixed;
    }
    NetlinkRequest(const NetlinkRequest&) = delete;
    NetlinkRequest& operator=(const NetlinkRequest&) = delete;

    void add(std::uint16_t type, std::span<const std::byte> value) noexcept
    {
        mnl_attr_put(header_, type, value.size(), value.data());
    }
    void add(std::uint16_t type, std::uint32_t value) noexcept { mnl_attr_put_u32(header_, type, value); }
    nlmsghdr& header() noexcept { return *header_; }

private:
    /// Three attributes, each with an address of IPv6.
    static constexpr std::size_t room_for_attributes = 3 * (sizeof(nlattr) + sizeof(in6_addr));

    alignas(nlmsghdr) std::array<std::byte, 128> bytes_{};
    nlmsghdr* header_;
};

/// The attributes of a message by their type, 0 to `last`; those of other types are passed over.
template <unsigned last>
class NetlinkAttributes {
public:
    /// Those behind a message's fixed part.
    template <typename Fixed>
    static NetlinkAttributes of(const nlmsghdr& message) noexcept
    {
        NetlinkAttributes result;
        if (mnl_nlmsg_get_payload_len(&message) >= sizeof(Fixed)) {
            mnl_attr_parse(&message, sizeof(Fixed), &NetlinkAttributes::take, &result);
        }
        return result;
    }
    /// Those inside another one.
    static NetlinkAttributes inside(const nlattr& outer) noexcept
    {
        NetlinkAttributes result;
        mnl_attr_parse_nested(&outer, &NetlinkAttributes::take, &result);
        return result;
    }

    const nlattr* find(unsigned type) const noexcept { return found_[type]; }
    std::span<const std::byte> bytes(unsigned type) const noexcept
    {
        const nlattr* const found = found_[type];
        return found == nullptr ? std::span<const std::byte>()
                                : std::span(static_cast<const std::byte*>(mnl_attr_get_payload(found)),
                                            mnl_attr_get_payload_len(found));
    }
    /// 0 if there is none.
    std::uint32_t number(unsigned type) const noexcept
    {
        const nlattr* const found = found_[type];
        return found == nullptr || mnl_attr_validate(found, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(found);
    }

private:
    static int take(const nlattr* attribute, void* result) noexcept
    {
        auto& found = static_cast<NetlinkAttributes*>(result)->found_;
        if (const unsigned type = mnl_attr_get_type(attribute); type <= last) {
            found[type] = attribute;
        }
        return MNL_CB_OK;
    }

    std::array<const nlattr*, last + 1> found_{};
};

/// A message's fixed part; zero if it is too short for one.
template <typename Fixed>
Fixed fixed_part(const nlmsghdr& message) noexcept
{
    return mnl_nlmsg_get_payload_len(&message) < sizeof(Fixed)
               ? Fixed{}
               : *static_cast<const Fixed*>(mnl_nlmsg_get_payload(&message));
}

} // namespace srd
