// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/xdp/xdp_program.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/ethernet.h>
#include <sys/stat.h>

#include "io/raw/raw_io.hpp"

namespace srd {

namespace {

// The number is the version of Owner and of what the program does with it.
constexpr const char* program_name = "srd_xdp_1";
constexpr const char* queues_name = "srd_queues_1";
constexpr const char* sockets_name = "srd_sockets_1";

/// Whose a receive queue is: a value of the map `queues`. Network byte order; all zero: nobody's.
struct Owner {
    std::array<std::uint8_t, 16> address{}; // IPv4: the first four
    std::uint16_t port = 0;
    std::uint16_t ether_type = 0;
    std::uint32_t max_ip_length = 0; // bytes, host order: longer packets pass
};
static_assert(sizeof(Owner) == 24 && offsetof(Owner, port) == 16);

/// BPF code, instruction by instruction. There is no compiler for it where users are.
class Assembler {
public:
    using Code = std::vector<bpf_insn>;

    void move(unsigned to, unsigned from) { add(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
    void set(unsigned to, std::int32_t value) { add(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
    void plus(unsigned to, std::int32_t value) { add(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value); }
    void mask(unsigned to, std::int32_t value) { add(BPF_ALU64 | BPF_AND | BPF_K, to, 0, 0, value); }
    void from_big_endian16(unsigned to) { add(BPF_ALU | BPF_END | BPF_TO_BE, to, 0, 0, 16); }
    void load(unsigned size, unsigned to, unsigned base, std::size_t offset)
    {
        add(BPF_LDX | size | BPF_MEM, to, base, static_cast<std::int16_t>(offset), 0);
    }
    void store(unsigned size, unsigned base, std::int16_t offset, unsigned from)
    {
        add(BPF_STX | size | BPF_MEM, base, from, offset, 0);
    }
    void load_map(unsigned to, int fd)
    {
        add(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_FD, 0, fd);
        add(0, 0, 0, 0, 0);
    }
    void call(std::int32_t function) { add(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
    void exit() { add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }
    /// Jumps to the label of `jumps` (see place()) if `left` compares so.
    void jump_if(unsigned comparison, unsigned left, unsigned right, std::vector<std::size_t>& jumps)
    {
        jumps.push_back(code_.size());
        add(BPF_JMP | comparison | BPF_X, left, right, 0, 0);
    }
    void jump_if_value(unsigned comparison, unsigned left, std::int32_t right,
                       std::vector<std::size_t>& jumps)
    {
        jumps.push_back(code_.size());
        add(BPF_JMP | comparison | BPF_K, left, 0, 0, right);
    }
    /// The label is here.
    void place(const std::vector<std::size_t>& jumps)
    {
        for (const std::size_t jump : jumps) {
            code_[jump].off = static_cast<std::int16_t>(code_.size() - jump - 1);
        }
    }
    const Code& code() const noexcept { return code_; }

private:
    void add(unsigned operation, unsigned to, unsigned from, std::int16_t offset, std::int32_t value)
    {
        bpf_insn instruction{};
        instruction.code = static_cast<std::uint8_t>(operation);
        instruction.dst_reg = to & 0xf;
        instruction.src_reg = from & 0xf;
        instruction.off = offset;
        instruction.imm = value;
        code_.push_back(instruction);
    }

    Code code_;
};

/// The program: frame to socket, or pass. Bounds are compared with constants only, so that CAP_PERFMON is not
/// needed.
class FrameFilter {
public:
    FrameFilter(int queues, int sockets)
    {
        find_owner(queues);
        require_bytes(static_cast<std::int32_t>(raw_overhead(AF_INET)));
        require_equal(BPF_H, offsetof(ether_header, ether_type), offsetof(Owner, ether_type));
        std::vector<std::size_t> ipv6;
        a_.jump_if_value(BPF_JEQ, 2, htons(ETHERTYPE_IPV6), ipv6);
        require_ipv4_packet();
        std::vector<std::size_t> redirect;
        a_.jump_if_value(BPF_JA, 0, 0, redirect);
        a_.place(ipv6);
        require_ipv6_packet();
        a_.place(redirect);
        redirect_to(sockets);
        a_.place(pass_);
        a_.set(0, XDP_PASS);
        a_.exit();
    }

    const Assembler::Code& code() const noexcept { return a_.code(); }

private:
    // Registers.
    static constexpr unsigned context = 6, data = 7, end = 8, owner = 9, frame_pointer = 10;
    static constexpr std::size_t ip = ethernet_header;

    void require_equal(unsigned size, std::size_t frame_offset, std::size_t owner_offset)
    {
        a_.load(size, 2, data, frame_offset);
        a_.load(size, 3, owner, owner_offset);
        a_.jump_if(BPF_JNE, 2, 3, pass_);
    }
    void require_bytes(std::int32_t bytes)
    {
        a_.move(1, data);
        a_.plus(1, bytes);
        a_.jump_if(BPF_JGT, 1, end, pass_);
    }
    void require_fitting(std::size_t length_offset, std::int32_t add)
    {
        a_.load(BPF_H, 2, data, length_offset);
        a_.from_big_endian16(2);
        a_.plus(2, add);
        a_.load(BPF_W, 3, owner, offsetof(Owner, max_ip_length));
        a_.jump_if(BPF_JGT, 2, 3, pass_);
    }
    /// Whose the receive queue is, and where the frame begins and ends.
    void find_owner(int queues)
    {
        a_.move(context, 1);
        a_.load(BPF_W, 2, context, offsetof(xdp_md, rx_queue_index));
        a_.store(BPF_W, frame_pointer, -4, 2);
        a_.load_map(1, queues);
        a_.move(2, frame_pointer);
        a_.plus(2, -4);
        a_.call(BPF_FUNC_map_lookup_elem);
        a_.jump_if_value(BPF_JEQ, 0, 0, pass_);
        a_.move(owner, 0);
        a_.load(BPF_W, data, context, offsetof(xdp_md, data));
        a_.load(BPF_W, end, context, offsetof(xdp_md, data_end));
    }
    void require_ipv4_packet()
    {
        a_.load(BPF_B, 2, data, ip); // version, header length
        a_.jump_if_value(BPF_JNE, 2, 0x45, pass_);
        a_.load(BPF_H, 2, data, ip + 6); // fragment: neither offset nor more of them
        a_.mask(2, htons(0x3fff));
        a_.jump_if_value(BPF_JNE, 2, 0, pass_);
        a_.load(BPF_B, 2, data, ip + 9); // protocol
        a_.jump_if_value(BPF_JNE, 2, IPPROTO_UDP, pass_);
        require_equal(BPF_W, ip + 16, offsetof(Owner, address));
        require_equal(BPF_H, raw_overhead(AF_INET) - 6, offsetof(Owner, port));
        require_fitting(ip + 2, 0);
    }
    void require_ipv6_packet()
    {
        require_bytes(static_cast<std::int32_t>(raw_overhead(AF_INET6)));
        a_.load(BPF_B, 2, data, ip + 6); // next header
        a_.jump_if_value(BPF_JNE, 2, IPPROTO_UDP, pass_);
        for (std::size_t at = 0; at < 16; at += 4) {
            require_equal(BPF_W, ip + 24 + at, offsetof(Owner, address) + at);
        }
        require_equal(BPF_H, raw_overhead(AF_INET6) - 6, offsetof(Owner, port));
        require_fitting(ip + 4, 40);
    }
    void redirect_to(int sockets)
    {
        a_.load_map(1, sockets);
        a_.load(BPF_W, 2, context, offsetof(xdp_md, rx_queue_index));
        a_.set(3, XDP_PASS); // without a socket
        a_.call(BPF_FUNC_redirect_map);
        a_.exit();
    }

    Assembler a_;
    std::vector<std::size_t> pass_; // jumps to the end
};

struct Registry {
    std::mutex mutex;
    std::map<XdpProgram::ProgramKey, std::weak_ptr<XdpProgram>> programs;
};

Registry& registry()
{
    // Never destroyed: endpoints may be closed by atexit handlers of the application.
    static Registry* const instance = new Registry;
    return *instance;
}

} // namespace

int XdpProgram::attach(const XdpLibrary& library, unsigned index, const std::string& interface, XdpMode mode,
                       std::shared_ptr<XdpProgram>& program, std::string& error)
{
    constexpr const char* own_namespace = "/proc/thread-self/ns/net";
    constexpr int attempts = 20; // a process that ends takes its program along, a little later
    struct stat space {};
    if (::stat(own_namespace, &space) != 0) {
        const int code = errno;
        error = std::string("cannot tell which network namespace ") + interface + " is in: " + own_namespace +
                ": " + std::strerror(code);
        return code;
    }
    const ProgramKey key(space.st_dev, space.st_ino, index);
    std::shared_ptr<XdpProgram> made;
    for (int attempt = 0;; ++attempt) {
        const int code = find_or_create(library, key, mode, made, error);
        if (code == 0) {
            break;
        }
        if (code != EBUSY || attempt == attempts) {
            error.insert(0, "cannot attach to " + interface + ": ");
            return code;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(25)); // without the lock
    }
    if (mode != XdpMode::any && made->native_ != (mode == XdpMode::native)) {
        error = "the XDP program of another endpoint is on " + interface + " in the other mode";
        return EBUSY;
    }
    program = std::move(made);
    return 0;
}

int XdpProgram::find_or_create(const XdpLibrary& library, const ProgramKey& key, XdpMode mode,
                               std::shared_ptr<XdpProgram>& program, std::string& error)
{
    Registry& known = registry();
    const std::lock_guard lock(known.mutex);
    std::erase_if(known.programs, [](const auto& entry) { return entry.second.expired(); });
    if (const auto found = known.programs.find(key); found != known.programs.end()) {
        program = found->second.lock();
        if (program != nullptr) {
            return 0;
        }
    }
    std::shared_ptr<XdpProgram> made(new XdpProgram(library));
    const int code = made->create(std::get<unsigned>(key), mode, error);
    if (code == 0) {
        known.programs[key] = made;
        program = std::move(made);
    }
    return code;
}

int XdpProgram::create(unsigned index, XdpMode mode, std::string& error)
{
    bpf_xdp_query_opts present{};
    present.sz = sizeof(present);
    if (library_.bpf_xdp_query(static_cast<int>(index), 0, &present) == 0 && present.attach_mode != 0) {
        native_ = present.attach_mode == XDP_ATTACHED_DRV;
        if (join(index, present.prog_id)) {
            return 0;
        }
        error = "XDP program " + std::to_string(present.prog_id) +
                " is there already and not to be shared (bpftool prog tells whose it is; to share ours "
                "between processes takes CAP_SYS_ADMIN); use the packet or the udp backend";
        return EBUSY;
    }
    if (const int code = load(); code != 0) {
        error = std::string("the kernel does not accept the XDP program: ") + std::strerror(code);
        return code;
    }
    int code = 0;
    for (const XdpMode wanted : {XdpMode::native, XdpMode::generic}) {
        if (mode != XdpMode::any && mode != wanted) {
            continue;
        }
        bpf_link_create_opts options{};
        options.sz = sizeof(options);
        options.flags = wanted == XdpMode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
        link_ = FileDescriptor(
            library_.bpf_link_create(program_.get(), static_cast<int>(index), BPF_XDP, &options));
        code = link_.valid() ? 0 : errno;
        if (code == 0) {
            native_ = wanted == XdpMode::native;
            return 0;
        }
    }
    error = std::strerror(code);
    return code == EEXIST ? EBUSY : code; // somebody attached one in between
}

int XdpProgram::load()
{
    queues_ = FileDescriptor(library_.bpf_map_create(BPF_MAP_TYPE_ARRAY, queues_name, sizeof(std::uint32_t),
                                                     sizeof(Owner), max_queues, nullptr));
    if (!queues_.valid()) {
        return errno;
    }
    sockets_ = FileDescriptor(library_.bpf_map_create(
        BPF_MAP_TYPE_XSKMAP, sockets_name, sizeof(std::uint32_t), sizeof(int), max_queues, nullptr));
    if (!sockets_.valid()) {
        return errno;
    }
    const FrameFilter filter(queues_.get(), sockets_.get());
    program_ = FileDescriptor(library_.bpf_prog_load(BPF_PROG_TYPE_XDP, program_name, "Dual BSD/GPL",
                                                     filter.code().data(), filter.code().size(), nullptr));
    return program_.valid() ? 0 : errno;
}

bool XdpProgram::join(unsigned index, std::uint32_t program_id)
{
    program_ = FileDescriptor(library_.bpf_prog_get_fd_by_id(program_id));
    return program_.valid() && find_maps() && find_link(index);
}

bool XdpProgram::find_maps()
{
    bpf_prog_info info{};
    std::array<std::uint32_t, 2> ids{};
    info.nr_map_ids = static_cast<std::uint32_t>(ids.size());
    info.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    std::uint32_t length = sizeof(info);
    if (library_.bpf_obj_get_info_by_fd(program_.get(), &info, &length) != 0 ||
        std::strcmp(info.name, program_name) != 0 || info.nr_map_ids != ids.size()) {
        return false;
    }
    for (const std::uint32_t id : ids) {
        FileDescriptor map(library_.bpf_map_get_fd_by_id(id));
        bpf_map_info map_info{};
        length = sizeof(map_info);
        if (!map.valid() || library_.bpf_obj_get_info_by_fd(map.get(), &map_info, &length) != 0) {
            return false;
        }
        (std::strcmp(map_info.name, queues_name) == 0 ? queues_ : sockets_) = std::move(map);
    }
    return queues_.valid() && sockets_.valid();
}

bool XdpProgram::find_link(unsigned index)
{
    for (std::uint32_t id = 0; library_.bpf_link_get_next_id(id, &id) == 0;) {
        FileDescriptor link(library_.bpf_link_get_fd_by_id(id));
        bpf_link_info info{};
        std::uint32_t length = sizeof(info);
        if (link.valid() && library_.bpf_obj_get_info_by_fd(link.get(), &info, &length) == 0 &&
            info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == index) {
            bpf_prog_info program{};
            length = sizeof(program);
            // The same index means another interface in another namespace; the program is what counts.
            if (library_.bpf_obj_get_info_by_fd(program_.get(), &program, &length) == 0 &&
                program.id == info.prog_id) {
                link_ = std::move(link);
                return true;
            }
        }
    }
    return false;
}

int XdpProgram::add(std::uint32_t queue, const SocketAddress& local, std::uint32_t max_frame, int socket)
{
    Owner owner;
    std::memcpy(owner.address.data(), local.host().data(), local.host().size());
    owner.port = htons(local.port());
    owner.ether_type = htons(local.family() == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    owner.max_ip_length = max_frame - ethernet_header;
    if (library_.bpf_map_update_elem(queues_.get(), &queue, &owner, BPF_ANY) != 0 ||
        library_.bpf_map_update_elem(sockets_.get(), &queue, &socket, BPF_ANY) != 0) {
        return errno;
    }
    return 0;
}

void XdpProgram::remove(std::uint32_t queue) noexcept
{
    library_.bpf_map_delete_elem(sockets_.get(), &queue);
    const Owner nobody;
    library_.bpf_map_update_elem(queues_.get(), &queue, &nobody, BPF_ANY);
}

} // namespace srd
