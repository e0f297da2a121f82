// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What happens to a process when its peer dies, or stops for a while; through
// the plain libfabric API, two processes, on one host or in two namespaces.
//   peer_death kill [OURS THEIRS]
//       The peer gets SIGKILL while messages to it are outstanding: each of them
//       ends in an error completion whose text names the peer, within the bound.
//   peer_death stop [SECONDS] [OURS THEIRS]
//       The peer gets SIGSTOP in the middle of a stream of messages, and SIGCONT
//       after SECONDS (20): every message arrives once, in order and intact.
// OURS and THEIRS are names of network namespaces and need root.
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <array>
#include <chrono>
#include <csignal>
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
#include <sys/wait.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

/// Until this no progress at all may be made before the test gives up; well
/// beyond every bound that the provider states.
constexpr seconds patience(60);

[[noreturn]] void fail(const char* what, int code = 0)
{
    std::fprintf(stderr, "FAILED: %s (%d: %s)\n", what, code, fi_strerror(code < 0 ? -code : code));
    std::exit(1);
}

void check(int code, const char* what)
{
    if (code != 0) {
        fail(what, code);
    }
}

void enter_namespace(const char* name)
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

    void open()
    {
        fi_info* hints = fi_allocinfo();
        hints->caps = FI_MSG;
        hints->ep_attr->type = FI_EP_RDM;
        hints->domain_attr->mr_mode = 0;
        hints->tx_attr->op_flags = FI_COMPLETION | FI_TRANSMIT_COMPLETE; // not done before the peer has it
        const char* provider = std::getenv("FI_PROVIDER");
        hints->fabric_attr->prov_name = strdup(provider != nullptr ? provider : "srd");
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
        if (fi_av_insert(av, theirs.data(), 1, &peer, 0, nullptr) != 1) {
            fail("fi_av_insert");
        }
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

    std::string peer_text;
    std::string peer_port;
};

// -- the stream that is checked ---------------------------------------------------

std::size_t size_of(std::uint64_t index)
{
    return index % 20 == 19 ? 200000 : 8 + (index * 2654435761U) % 3000;
}

void fill(std::vector<char>& data, std::uint64_t index)
{
    data.resize(size_of(index));
    for (std::size_t i = 0; i < data.size(); ++i) {
        data[i] = static_cast<char>((index * 131 + i * 7) & 0xffU);
    }
}

constexpr std::uint64_t messages = 20000;
constexpr std::size_t depth = 32;

/// Receives the stream in order and checks each byte.
void receive_all(Node& node)
{
    std::array<std::vector<char>, depth> buffers;
    std::vector<char> expected;
    const auto post = [&](std::uint64_t index) {
        std::vector<char>& buffer = buffers[index % depth];
        buffer.assign(200000, 0);
        ssize_t code = -FI_EAGAIN;
        while (code == -FI_EAGAIN) {
            code = fi_recv(node.ep, buffer.data(), buffer.size(), nullptr, FI_ADDR_UNSPEC, &buffer);
            if (code == -FI_EAGAIN) {
                fi_cq_read(node.cq, nullptr, 0);
            }
        }
        check(static_cast<int>(code), "fi_recv");
    };
    for (std::uint64_t index = 0; index < depth; ++index) {
        post(index);
    }
    std::array<bool, depth> done{};
    auto last = Clock::now();
    for (std::uint64_t index = 0; index < messages;) {
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
        while (index < messages && done[index % depth]) {
            fill(expected, index);
            if (std::memcmp(expected.data(), buffers[index % depth].data(), expected.size()) != 0) {
                fail("wrong data or order in message", static_cast<int>(index));
            }
            done[index % depth] = false;
            if (index + depth < messages) {
                post(index + depth);
            }
            ++index;
        }
    }
}

/// Sends the stream; `at_half` is called in the middle of it.
template <typename AtHalf>
void send_all(Node& node, AtHalf&& at_half)
{
    std::array<std::vector<char>, depth> buffers;
    std::array<bool, depth> busy{};
    std::uint64_t sent = 0;
    std::uint64_t completed = 0;
    auto last = Clock::now();
    while (completed < messages) {
        if (sent < messages && !busy[sent % depth]) {
            std::vector<char>& buffer = buffers[sent % depth];
            fill(buffer, sent);
            const ssize_t code = fi_send(node.ep, buffer.data(), buffer.size(), nullptr, node.peer, &buffer);
            if (code == 0) {
                busy[sent % depth] = true;
                if (++sent == messages / 2) {
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
        } else if (Clock::now() - last > patience) {
            fail("the stream stopped being accepted");
        } else {
            sched_yield();
        }
    }
}

// -- the two processes ----------------------------------------------------------------

struct Peer {
    pid_t pid = 0;
    int to = -1;
    int from = -1;
};

/// The peer's whole life: receive the stream ("stop"), or one message and then wait for death ("kill").
[[noreturn]] void be_the_peer(bool stream, const char* network, int to, int from)
{
    if (network != nullptr) {
        enter_namespace(network);
    }
    Node node;
    node.open();
    node.exchange(to, from);
    if (stream) {
        receive_all(node);
        node.close();
        std::exit(0);
    }
    char data = 0;
    check(static_cast<int>(fi_recv(node.ep, &data, 1, nullptr, FI_ADDR_UNSPEC, nullptr)), "fi_recv");
    for (;;) {
        fi_cq_entry entry{};
        fi_cq_read(node.cq, &entry, 1);
        sched_yield();
    }
}

Peer start_peer(bool stream, const char* network)
{
    std::array<int, 2> up{};
    std::array<int, 2> down{};
    if (pipe(up.data()) != 0 || pipe(down.data()) != 0) {
        fail("pipe");
    }
    const pid_t pid = fork();
    if (pid == 0) {
        be_the_peer(stream, network, up[1], down[0]);
    }
    close(up[1]);
    close(down[0]);
    return {pid, down[1], up[0]};
}

/// Waits for one success of a send.
void send_one(Node& node, std::vector<char>& data)
{
    const auto give_up = Clock::now() + patience;
    ssize_t code = -FI_EAGAIN;
    fi_cq_entry entry{};
    while ((code = fi_send(node.ep, data.data(), data.size(), nullptr, node.peer, nullptr)) == -FI_EAGAIN) {
        fi_cq_read(node.cq, &entry, 0);
    }
    check(static_cast<int>(code), "fi_send");
    while ((code = fi_cq_read(node.cq, &entry, 1)) == -FI_EAGAIN && Clock::now() < give_up) {
        sched_yield();
    }
    if (code != 1) {
        fail("the first message did not get through", static_cast<int>(code));
    }
}

void kill_test(const char* ours, const char* theirs)
{
    const Peer peer = start_peer(false, theirs);
    if (ours != nullptr) {
        enter_namespace(ours);
    }
    Node node;
    node.open();
    node.exchange(peer.to, peer.from);
    std::vector<char> small(1, 'x');
    send_one(node, small);

    kill(peer.pid, SIGKILL);
    waitpid(peer.pid, nullptr, 0);
    const auto died = Clock::now();
    // One eager message, and one so large that it must first be invited.
    std::vector<char> large(1U << 20U, 'y');
    std::array<std::vector<char>*, 2> outstanding{&small, &large};
    for (std::vector<char>* data : outstanding) {
        check(static_cast<int>(fi_send(node.ep, data->data(), data->size(), nullptr, node.peer, data)),
              "fi_send");
    }
    std::size_t errors = 0;
    while (errors < outstanding.size()) {
        fi_cq_entry entry{};
        const ssize_t count = fi_cq_read(node.cq, &entry, 1);
        if (count == 1) {
            fail("a message to a dead peer completed successfully");
        }
        if (count == -FI_EAVAIL) {
            fi_cq_err_entry error{};
            if (fi_cq_readerr(node.cq, &error, 0) != 1) {
                fail("fi_cq_readerr");
            }
            const char* text = fi_cq_strerror(node.cq, error.prov_errno, error.err_data, nullptr, 0);
            std::printf("after %.2f s: %s: %s\n", std::chrono::duration<double>(Clock::now() - died).count(),
                        fi_strerror(error.err), text);
            if (error.op_context != outstanding[0] && error.op_context != outstanding[1]) {
                fail("the error names no operation of ours");
            }
            if (std::strstr(text, node.peer_port.c_str()) == nullptr) {
                fail(("the text does not name the peer " + node.peer_text).c_str());
            }
            ++errors;
        } else if (Clock::now() - died > patience) {
            fail("no error completion for a dead peer");
        } else {
            sched_yield();
        }
    }
    node.close();
    std::printf("every outstanding operation failed, once, with the peer's name\n");
}

void stop_test(unsigned pause, const char* ours, const char* theirs)
{
    const Peer peer = start_peer(true, theirs);
    if (ours != nullptr) {
        enter_namespace(ours);
    }
    Node node;
    node.open();
    node.exchange(peer.to, peer.from);
    send_all(node, [&] {
        kill(peer.pid, SIGSTOP);
        std::printf("the peer is stopped for %u s, messages to it are outstanding\n", pause);
        // Go on asking for completions, as an application does that waits.
        const auto resume = Clock::now() + seconds(pause);
        while (Clock::now() < resume) {
            fi_cq_read(node.cq, nullptr, 0);
            usleep(1000);
        }
        kill(peer.pid, SIGCONT);
    });
    int status = 0;
    waitpid(peer.pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail("the peer did not get everything", status);
    }
    node.close();
    std::printf("%llu messages arrived once, in order and intact\n",
                static_cast<unsigned long long>(messages));
}

} // namespace

int main(int argc, char** argv)
{
    setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "kill" && (argc == 2 || argc == 4)) {
        kill_test(argc == 4 ? argv[2] : nullptr, argc == 4 ? argv[3] : nullptr);
        return 0;
    }
    if (what == "stop" && argc <= 5 && argc != 4) {
        const auto pause = static_cast<unsigned>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 20);
        stop_test(pause, argc == 5 ? argv[3] : nullptr, argc == 5 ? argv[4] : nullptr);
        return 0;
    }
    std::fprintf(stderr, "usage: peer_death kill [OURS THEIRS] | stop SECONDS [OURS THEIRS]\n");
    return 2;
}
