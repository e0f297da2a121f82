// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_profile(3) of an endpoint or a domain: its counters by their names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/fi_profile.hpp"
#include "fabric/fabric_fixture.hpp"

namespace fabric_test {

class Profile {
public:
    explicit Profile(fid& of)
    {
        void* ops = nullptr;
        REQUIRE(fi_open_ops(&of, "fi_profile_ops", 0, &ops, this) == 0);
        profile_ = static_cast<fid_profile*>(
            static_cast<void*>(static_cast<std::byte*>(ops) - offsetof(fid_profile, ops)));
        CHECK(profile_->fid.fclass == profile_class);
        CHECK(profile_->fid.context == this);
    }
    void close()
    {
        CHECK(fi_close(&profile_->fid) == 0);
        profile_ = nullptr;
    }
    fid_profile* get() const { return profile_; }
    fi_profile_ops& ops() const { return *profile_->ops; }

    std::map<std::string, fi_profile_desc> variables() const
    {
        std::size_t count = 0;
        REQUIRE(ops().query_vars(profile_, nullptr, &count) == 0);
        REQUIRE(count > 10);
        std::vector<fi_profile_desc> list(count);
        REQUIRE(ops().query_vars(profile_, list.data(), &count) == static_cast<ssize_t>(list.size()));
        std::map<std::string, fi_profile_desc> named;
        for (const fi_profile_desc& each : list) {
            CHECK(each.datatype_sel == fi_primitive_type);
            CHECK(each.datatype.primitive == FI_UINT64);
            CHECK(each.size == 8);
            CHECK(each.desc[0] != '\0');
            CHECK(named.emplace(each.name, each).second);
        }
        return named;
    }
    ssize_t read(std::uint32_t id, std::uint64_t& value) const
    {
        std::size_t size = sizeof(value);
        return ops().read_var(profile_, id, &value, &size);
    }
    std::uint64_t operator[](const std::string& name) const
    {
        std::uint64_t value = 0;
        REQUIRE(read(variables().at(name).id, value) == 8);
        return value;
    }

private:
    fid_profile* profile_ = nullptr;
};

} // namespace fabric_test
