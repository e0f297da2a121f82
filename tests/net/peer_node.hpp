// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An endpoint of peer_death, in a network namespace or none, and the streams of messages that it sends,
// receives and checks.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <unistd.h>

namespace peer_death {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

/// Until this no progress at all may be made before the test gives up; well
/// beyond every bound that the provider states.
constexpr seconds patience(60);

[[noreturn]] inline void fail(const char* what, int code = 0)
{
    std::fprintf(stderr, "FAILED: %s (%d: %s)\n", what, code, fi_strerror(code < 0 ? -code : code));
    std::exit(1);
}

inline void check(int code, const char* what)
{
    if (code != 0) {
        fail(what, code);
    }
}

inline void enter_namespace(const char* name)
{
    const std::string path = std::string("/run/netns/") + name;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
        std::perror(path.c_str());
        std::exit(1);
    }
    close(fd);
}

using Address = std::array<char, 64>;

/// One endpoint with one completion queue and an address vector. Nothing of
/// libfabric is touched before the fork.
struct Node {
    fi_info* info = nullptr;
    fid_fabric* fabric = nullptr;
    fid_domain* domain = nullptr;
    fid_av* av = nullptr;
    fid_cq* cq = nullptr;
    fid_ep* ep = nullptr;
    fi_addr_t peer = FI_ADDR_UNSPEC;

    /// At `source`, if that is given.
    void open(const Address* source = nullptr)
    {
        fi_info* hints = fi_allocinfo();
        hints->caps = FI_MSG;
        hints->ep_attr->type = FI_EP_RDM;
        hints->domain_attr->mr_mode = 0;
        hints->tx_attr->op_flags = FI_COMPLETION | FI_TRANSMIT_COMPLETE; // not done before the peer has it
        const char* provider = std::getenv("FI_PROVIDER");
        hints->fabric_attr->prov_name = strdup(provider != nullptr ? provider : "srd");
        if (source != nullptr) {
            hints->addr_format = FI_SOCKADDR_IN;
            hints->src_addrlen = sizeof(sockaddr_in);
            hints->src_addr = std::malloc(hints->src_addrlen); // fi_freeinfo() frees it
            std::memcpy(hints->src_addr, source->data(), hints->src_addrlen);
        }
        check(fi_getinfo(FI_VERSION(1, 17), nullptr, nullptr, 0, hints, &info), "fi_getinfo");
        fi_freeinfo(hints);
        check(fi_fabric(info->fabric_attr, &fabric, nullptr), "fi_fabric");
        check(fi_domain(fabric, info, &domain, nullptr), "fi_domain");
        fi_av_attr av_attr{};
        check(fi_av_open(domain, &av_attr, &av, nullptr), "fi_av_open");
        fi_cq_attr cq_attr{};
        cq_attr.format = FI_CQ_FORMAT_CONTEXT;
        cq_attr.size = 4096;
        check(fi_cq_open(domain, &cq_attr, &cq, nullptr), "fi_cq_open");
        check(fi_endpoint(domain, info, &ep, nullptr), "fi_endpoint");
        check(fi_ep_bind(ep, &av->fid, 0), "fi_ep_bind av");
        check(fi_ep_bind(ep, &cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind cq");
        check(fi_enable(ep), "fi_enable");
    }

    /// Tells the other process where we are, and learns where it is.
    void exchange(int to, int from)
    {
        Address mine{};
        std::size_t length = mine.size();
        check(fi_getname(&ep->fid, mine.data(), &length), "fi_getname");
        if (write(to, mine.data(), mine.size()) != static_cast<ssize_t>(mine.size())) {
            fail("pipe");
        }
        Address theirs{};
        if (read(from, theirs.data(), theirs.size()) != static_cast<ssize_t>(theirs.size())) {
            fail("the other process gave no address");
        }
        insert(theirs);
    }

    void insert(const Address& theirs)
    {
        if (fi_av_insert(av, theirs.data(), 1, &peer, 0, nullptr) != 1) {
            fail("fi_av_insert");
        }
        peer_address = theirs;
        peer_text.resize(128);
        std::size_t text_length = peer_text.size();
        fi_av_straddr(av, theirs.data(), peer_text.data(), &text_length);
        peer_text.resize(std::strlen(peer_text.c_str()));
        sockaddr_in as_ipv4{};
        std::memcpy(&as_ipv4, theirs.data(), sizeof(as_ipv4));
        peer_port = std::to_string(ntohs(as_ipv4.sin_port)); // at the same place in sockaddr_in6
    }

    void close()
    {
        for (fid* object : {&ep->fid, &cq->fid, &av->fid, &domain->fid, &fabric->fid}) {
            check(fi_close(object), "fi_close");
        }
        fi_freeinfo(info);
    }

    Address peer_address{};
    std::string peer_text;
    std::string peer_port;
};

// -- the streams that are checked -------------------------------------------------

/// What a message begins with.
struct Head {
    std::uint32_t sender;
    std::uint32_t index;
};
constexpr std::size_t longest = 200000;
constexpr std::uint32_t messages = 20000; ///< of all senders together
constexpr std::size_t depth = 32;

inline std::size_t size_of(std::uint32_t index)
{
    return index % 20 == 19 ? longest : sizeof(Head) + (index * 2654435761U) % 3000;
}

inline void fill(std::vector<char>& data, Head head)
{
    data.resize(size_of(head.index));
    for (std::size_t i = 0; i < data.size(); ++i) {
        data[i] = static_cast<char>((head.index * 131 + head.sender * 31 + i * 7) & 0xffU);
    }
    std::memcpy(data.data(), &head, sizeof(head));
}

/// Receives the streams, each in order, and checks each byte.
inline void receive_all(Node& node, std::uint32_t senders)
{
    std::array<std::vector<char>, depth> buffers;
    std::vector<char> expected;
    std::vector<std::uint32_t> next(senders);
    const auto post = [&](std::uint32_t number) {
        std::vector<char>& buffer = buffers[number % depth];
        buffer.assign(longest, 0);
        ssize_t code = -FI_EAGAIN;
        while (code == -FI_EAGAIN) {
            code = fi_recv(node.ep, buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, &buffer);
            if (code == -FI_EAGAIN) {
                fi_cq_read(node.cq, nullptr, 0);
            }
        }
        check(static_cast<int>(code), "fi_recv");
    };
    const auto examine = [&](const std::vector<char>& buffer) {
        Head head{};
        std::memcpy(&head, buffer.data(), sizeof(head));
        if (head.sender >= senders || head.index != next[head.sender]++) {
            fail("a message that is not the sender's next", static_cast<int>(head.index));
        }
        fill(expected, head);
        if (std::memcmp(expected.data(), buffer.data(), expected.size()) != 0) {
            fail("wrong data in message", static_cast<int>(head.index));
        }
    };
    const std::uint32_t total = messages / senders * senders;
    for (std::uint32_t number = 0; number < depth; ++number) {
        post(number);
    }
    std::array<bool, depth> done{};
    auto last = Clock::now();
    for (std::uint32_t number = 0; number < total;) {
        fi_cq_entry entry{};
        const ssize_t count = fi_cq_read(node.cq, &entry, 1);
        if (count == 1) {
            done[static_cast<std::size_t>(static_cast<std::vector<char>*>(entry.op_context) -
                                          buffers.data())] = true;
            last = Clock::now();
        } else if (count != -FI_EAGAIN) {
            fail("a receive failed", static_cast<int>(count));
        } else if (Clock::now() - last > patience) {
            fail("the stream stopped arriving");
        } else {
            sched_yield();
        }
        while (number < total &&
               done[number % depth]) { // in the order of the receives, which is that of messages
            examine(buffers[number % depth]);
            done[number % depth] = false;
            if (number + depth < total) {
                post(number + depth);
            }
            ++number;
        }
    }
}

/// Sends one of the streams. `at_half` is called in the middle of it; nothing need come back for `pause` and
/// the usual patience.
template <typename AtHalf>
void send_all(Node& node, std::uint32_t sender, std::uint32_t senders, seconds pause, AtHalf&& at_half)
{
    std::array<std::vector<char>, depth> buffers;
    std::array<bool, depth> busy{};
    const std::uint32_t total = messages / senders;
    std::uint32_t sent = 0;
    std::uint32_t completed = 0;
    auto last = Clock::now();
    while (completed < total) {
        if (sent < total && !busy[sent % depth]) {
            std::vector<char>& buffer = buffers[sent % depth];
            fill(buffer, {sender, sent});
            const ssize_t code = fi_send(node.ep, buffer.data(), buffer.size(), nullptr, node.peer, &buffer);
            if (code == 0) {
                busy[sent % depth] = true;
                if (++sent == total / 2) {
                    at_half();
                    last = Clock::now();
                }
            } else if (code != -FI_EAGAIN) {
                fail("fi_send", static_cast<int>(code));
            }
        }
        fi_cq_entry entry{};
        const ssize_t count = fi_cq_read(node.cq, &entry, 1);
        if (count == 1) {
            busy[static_cast<std::size_t>(static_cast<std::vector<char>*>(entry.op_context) -
                                          buffers.data())] = false;
            ++completed;
            last = Clock::now();
        } else if (count != -FI_EAGAIN) {
            fi_cq_err_entry error{};
            fi_cq_readerr(node.cq, &error, 0);
            fail(fi_cq_strerror(node.cq, error.prov_errno, error.err_data, nullptr, 0), error.err);
        } else if (Clock::now() - last > patience + pause) {
            fail("the stream stopped being accepted");
        } else {
            sched_yield();
        }
    }
}

} // namespace peer_death
