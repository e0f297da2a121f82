// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "numa.hpp"

#include <charconv>
#include <fstream>
#include <string_view>
#include <system_error>

#include <sched.h>

#ifdef SRD_HAVE_HWLOC
#include <hwloc.h>

#include <srd/shared_library.hpp>
#endif

namespace srd {

namespace {

/// "0-1,4" as 0, 1, 4; empty if it is no such list.
std::vector<int> parse_list(std::string_view text)
{
    std::vector<int> result;
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    while (at != end && *at != '\n') {
        int first = 0;
        std::from_chars_result parsed = std::from_chars(at, end, first);
        int last = first;
        if (parsed.ec == std::errc{} && parsed.ptr != end && *parsed.ptr == '-') {
            parsed = std::from_chars(parsed.ptr + 1, end, last);
        }
        constexpr int most_nodes = 4096;
        if (parsed.ec != std::errc{} || first < 0 || last < first || last >= most_nodes) {
            return {};
        }
        for (int node = first; node <= last; ++node) {
            result.push_back(node);
        }
        at = parsed.ptr != end && *parsed.ptr == ',' ? parsed.ptr + 1 : parsed.ptr;
    }
    return result;
}

} // namespace

Numa::Numa(const std::string& sysfs)
{
    const std::string folder = sysfs + "/devices/system/node/";
    std::string line;
    std::ifstream online(folder + "online");
    if (!std::getline(online, line)) {
        return;
    }
    const std::vector<int> nodes = parse_list(line);
    if (nodes.size() < 2) {
        return;
    }
    count_ = static_cast<unsigned>(nodes.size());
    distances_.resize(static_cast<std::size_t>(nodes.back()) + 1);
    for (const int node : nodes) {
        // One number per online node, in their order.
        std::ifstream file(folder + "node" + std::to_string(node) + "/distance");
        std::vector<unsigned>& row = distances_[static_cast<std::size_t>(node)];
        row.assign(distances_.size(), 255);
        unsigned value = 0;
        for (const int to : nodes) {
            if (file >> value) {
                row[static_cast<std::size_t>(to)] = value;
            }
        }
    }
}

const Numa& Numa::machine()
{
    static const Numa instance("/sys");
    return instance;
}

unsigned Numa::distance(int from, int to) const noexcept
{
    constexpr unsigned unknown = 255;
    if (from < 0 || to < 0 || static_cast<std::size_t>(from) >= distances_.size() ||
        static_cast<std::size_t>(to) >= distances_[static_cast<std::size_t>(from)].size()) {
        return unknown;
    }
    return distances_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
}

int numa_node_of_thread() noexcept
{
    unsigned cpu = 0;
    unsigned node = 0;
    return getcpu(&cpu, &node) == 0 ? static_cast<int>(node) : no_node;
}

#ifdef SRD_HAVE_HWLOC

namespace {

/// libhwloc, loaded for one use.
class Hwloc {
public:
    Hwloc()
    {
        library_.find(init, "hwloc_topology_init");
        library_.find(load, "hwloc_topology_load");
        library_.find(destroy, "hwloc_topology_destroy");
        library_.find(type_depth, "hwloc_get_type_depth");
        library_.find(object_count, "hwloc_get_nbobjs_by_depth");
        library_.find(object_at, "hwloc_get_obj_by_depth");
        library_.find(bitmap_alloc, "hwloc_bitmap_alloc");
        library_.find(bitmap_free, "hwloc_bitmap_free");
        library_.find(bitmap_and, "hwloc_bitmap_and");
        library_.find(bitmap_is_zero, "hwloc_bitmap_iszero");
        library_.find(get_binding, "hwloc_get_cpubind");
        library_.find(set_binding, "hwloc_set_cpubind");
    }
    bool usable() const noexcept { return library_.error().empty(); }

    decltype(&hwloc_topology_init) init{};
    decltype(&hwloc_topology_load) load{};
    decltype(&hwloc_topology_destroy) destroy{};
    decltype(&hwloc_get_type_depth) type_depth{};
    decltype(&hwloc_get_nbobjs_by_depth) object_count{};
    decltype(&hwloc_get_obj_by_depth) object_at{};
    decltype(&hwloc_bitmap_alloc) bitmap_alloc{};
    decltype(&hwloc_bitmap_free) bitmap_free{};
    decltype(&hwloc_bitmap_and) bitmap_and{};
    decltype(&hwloc_bitmap_iszero) bitmap_is_zero{};
    decltype(&hwloc_get_cpubind) get_binding{};
    decltype(&hwloc_set_cpubind) set_binding{};

private:
    SharedLibrary library_{"libhwloc.so.15", "install hwloc (Debian: libhwloc15)"};
};

} // namespace

bool numa_bind_thread(int node)
{
    const Hwloc hwloc;
    hwloc_topology_t topology = nullptr;
    if (node < 0 || !hwloc.usable() || hwloc.init(&topology) != 0) {
        return false;
    }
    bool bound = false;
    hwloc_bitmap_t processors = hwloc.bitmap_alloc();
    if (processors != nullptr && hwloc.load(topology) == 0 &&
        hwloc.get_binding(topology, processors, HWLOC_CPUBIND_THREAD) == 0) {
        const int depth = hwloc.type_depth(topology, HWLOC_OBJ_NUMANODE);
        const unsigned objects = hwloc.object_count(topology, depth);
        for (unsigned i = 0; i < objects; ++i) {
            const hwloc_obj* const object = hwloc.object_at(topology, depth, i);
            if (object->os_index == static_cast<unsigned>(node)) {
                hwloc.bitmap_and(processors, processors, object->cpuset);
                bound = hwloc.bitmap_is_zero(processors) == 0 &&
                        hwloc.set_binding(topology, processors, HWLOC_CPUBIND_THREAD) == 0;
                break;
            }
        }
    }
    hwloc.bitmap_free(processors);
    hwloc.destroy(topology);
    return bound;
}

#else

bool numa_bind_thread(int)
{
    return false;
}

#endif

} // namespace srd
