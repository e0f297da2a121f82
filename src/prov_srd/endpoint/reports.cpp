// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/reports.hpp"

#include <algorithm>

#include "common/log.hpp"
#include "completion/cq.hpp"
#include "objects/eq.hpp"

namespace srd {

void Reports::failure(CompletionQueue* queue, CompletionError& failure, RouteId route) noexcept
{
    if (queue == nullptr) {
        return;
    }
    if (route != no_id<RouteId>) {
        const std::span<const std::byte> bytes = peers_.address_of(route).bytes();
        failure.address_size = static_cast<std::uint8_t>(std::min(bytes.size(), failure.address.size()));
        std::copy_n(bytes.begin(), failure.address_size, failure.address.begin());
    }
    queue->write_error(failure);
}

void Reports::arrival(Completion& completion, RouteId from) noexcept
{
    CompletionQueue* const queue = bindings_.receive_queue();
    if (queue == nullptr) {
        return;
    }
    if ((caps_ & FI_SOURCE) != 0) {
        completion.source = peers_.source_of(from);
    }
    constexpr std::uint64_t named = FI_SOURCE | FI_SOURCE_ERR;
    if ((caps_ & named) == named && completion.source == FI_ADDR_NOTAVAIL) {
        CompletionError error{.completion = completion, .error = FI_EADDRNOTAVAIL};
        failure(queue, error, from);
    } else {
        queue->write(completion);
    }
}

void Reports::peer_lost(RouteId route, Cause cause) noexcept
{
    EventQueue* const queue = bindings_.event_queue();
    if (queue == nullptr) {
        return;
    }
    const std::span<const std::byte> address = peers_.address_of(route).bytes();
    fi_eq_err_entry entry{};
    entry.fid = &self_;
    entry.context = self_.context;
    entry.err = error_of(cause);
    entry.prov_errno = entry.err;
    entry.err_data = const_cast<std::byte*>(address.data());
    entry.err_data_size = address.size();
    if (queue->report_error(entry) != 0) {
        SRD_WARN(FI_LOG_EP_CTRL, "no memory to report the failure of a peer to the event queue");
    }
}

} // namespace srd
