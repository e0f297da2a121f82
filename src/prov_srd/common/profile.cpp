// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "common/profile.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <rdma/fi_errno.h>

#include "common/fi_profile.hpp"
#include "common/log.hpp"
#include "common/stubs.hpp"

namespace srd {
namespace {

// Of variables that libfabric names; see rdma/fi_profile.h.
constexpr std::uint32_t unexpected_id = 0;  // FI_VAR_UNEXP_MSG_CNT
constexpr std::uint32_t connections_id = 3; // FI_VAR_CONNECTION_CNT
/// The numbers of a provider's own variables have its mark in the upper half. Their names are what lasts.
constexpr std::uint32_t own_ids = 0x52dU << 16;

fi_profile_desc variable(std::uint32_t id, const char* name, const char* text) noexcept
{
    fi_profile_desc result{};
    result.id = id;
    result.datatype_sel = fi_primitive_type;
    result.datatype.primitive = FI_UINT64;
    result.size = sizeof(std::uint64_t);
    result.name = name;
    result.desc = text;
    return result;
}

const auto& variables() noexcept
{
    static const auto list = [] {
        std::array<fi_profile_desc, 2 + ProfileValues::counters> all{
            variable(unexpected_id, "pvar_unexp_msg_cnt", "messages that wait for a receive"),
            variable(connections_id, "pvar_connection_cnt", "connections established")};
        std::uint32_t number = 0;
#define SRD_X(name, text)                                                                                    \
    all[2 + number] = variable(own_ids + number, #name, text);                                               \
    ++number;
        SRD_COUNTERS(SRD_X)
#undef SRD_X
        return all;
    }();
    return list;
}

std::optional<std::uint64_t> value_of(const ProfileValues& values, std::uint32_t id) noexcept
{
    if (id == unexpected_id) {
        return values.unexpected;
    }
    if (id == connections_id) {
        return values.connections;
    }
    const std::uint32_t number = id - own_ids;
    return number < ProfileValues::counters ? std::optional(values.counter[number]) : std::nullopt;
}

} // namespace

void ProfileValues::add(const Counters& more) noexcept
{
    connections += more.handshakes.value();
    std::size_t number = 0;
    for_each_counter(more,
                     [&](const char*, const char*, std::uint64_t value) { counter[number++] += value; });
}

struct Profiles::Profile {
    Profile(Profiles& from, void* context) noexcept : owner(from)
    {
        face.fid.fclass = profile_class;
        face.fid.context = context;
        face.fid.ops = &fid_ops;
        face.ops = &profile_ops;
    }

    static Profile& of(fid_profile* profile) noexcept
    {
        return *static_cast<Profile*>(static_cast<void*>(profile));
    }

    static int close(fid* object) noexcept
    {
        Profiles& owner = of(static_cast<fid_profile*>(static_cast<void*>(object))).owner;
        const std::lock_guard guard(owner.mutex_);
        std::erase_if(owner.open_, [&](const auto& each) { return &each->face.fid == object; });
        return 0;
    }

    /// Values are sums since the endpoint was made, for every reader: there is nothing to set back.
    static void reset(fid_profile*, std::uint64_t) noexcept {}

    static ssize_t query_vars(fid_profile*, fi_profile_desc* list, std::size_t* count) noexcept
    {
        if (count == nullptr) {
            return -FI_EINVAL;
        }
        const std::size_t given = list == nullptr ? 0 : std::min(*count, variables().size());
        std::copy_n(variables().begin(), given, list);
        *count = variables().size();
        return static_cast<ssize_t>(given);
    }
    static ssize_t query_events(fid_profile*, fi_profile_desc*, std::size_t* count) noexcept
    {
        if (count == nullptr) {
            return -FI_EINVAL;
        }
        *count = 0;
        return 0;
    }
    static int reg_callback(fid_profile*, std::uint32_t,
                            int (*)(fid_profile*, fi_profile_desc*, void*, std::size_t, void*),
                            void*) noexcept
    {
        return -FI_EINVAL; // of an event that is not there, says fi_profile(3)
    }

    static ssize_t read_var(fid_profile* profile, std::uint32_t id, void* data, std::size_t* size) noexcept
    {
        const Profile& self = of(profile);
        if (data == nullptr || size == nullptr) {
            return -FI_EINVAL;
        }
        const std::optional<std::uint64_t> value =
            value_of(self.snapshot ? *self.snapshot : self.owner.read_(), id);
        if (!value) {
            return -FI_EINVAL;
        }
        if (std::exchange(*size, sizeof(*value)) < sizeof(*value)) {
            return -FI_ETOOSMALL;
        }
        std::memcpy(data, &*value, sizeof(*value));
        return sizeof(*value);
    }
    static void start_reads(fid_profile* profile, std::uint64_t) noexcept
    {
        of(profile).snapshot = of(profile).owner.read_();
    }
    static void end_reads(fid_profile* profile, std::uint64_t) noexcept { of(profile).snapshot.reset(); }

    static fi_ops fid_ops;
    static fi_profile_ops profile_ops;

    fid_profile face{}; ///< must be first
    Profiles& owner;
    std::optional<ProfileValues> snapshot; ///< between start_reads and end_reads
};

fi_ops Profiles::Profile::fid_ops = {sizeof(fi_ops),  close,   stubs::bind, stubs::control,
                                     stubs::ops_open, nullptr, nullptr};
fi_profile_ops Profiles::Profile::profile_ops = {
    sizeof(fi_profile_ops), reset, query_vars, query_events, read_var, reg_callback, start_reads, end_reads};

Profiles::Profiles(std::function<ProfileValues()> read) : read_(std::move(read)) {}
Profiles::~Profiles() = default;

int Profiles::open_ops(const char* name, std::uint64_t flags, void** ops, void* context)
{
    if (name == nullptr || std::strcmp(name, "fi_profile_ops") != 0) {
        return -FI_ENOSYS;
    }
    if (flags != 0 || ops == nullptr) {
        SRD_WARN(FI_LOG_CORE, "fi_profile_open: there are no flags, and the result pointer must not be NULL");
        return flags != 0 ? -FI_EBADFLAGS : -FI_EINVAL;
    }
    auto profile = std::make_unique<Profile>(*this, context);
    const std::lock_guard guard(mutex_);
    *ops = static_cast<void*>(&open_.emplace_back(std::move(profile))->face.ops);
    return 0;
}

} // namespace srd
