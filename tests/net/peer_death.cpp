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
//   peer_death flood [SECONDS] [OURS THEIRS]
//       The same while seven others send to the stopped peer, too, as fast as they
//       are let.
//   peer_death reuse CUT MEND OURS THEIRS
//       The command CUT parts the two until what was under way has failed; the peer
//       is killed, and another process takes its address before MEND. The stream
//       that is then sent there arrives, and nothing of before in it.
// OURS and THEIRS are names of network namespaces and need root.
#include <csignal>

#include <sys/wait.h>

#include "peer_node.hpp"

using namespace peer_death;

namespace {

// -- the two processes ----------------------------------------------------------------

struct Peer {
    pid_t pid = 0;
    int to = -1;
    int from = -1;
};

/// The peer's whole life: receive so many streams, or without any one message, and then wait for death.
void be_the_peer(std::uint32_t senders, const char* network, const Address* source, int to, int from)
{
    if (network != nullptr) {
        enter_namespace(network);
    }
    Node node;
    node.open(source);
    node.exchange(to, from);
    if (senders != 0) {
        receive_all(node, senders);
        node.close();
        return;
    }
    char data = 0;
    check(static_cast<int>(fi_recv(node.ep, &data, 1, nullptr, FI_ADDR_UNSPEC, nullptr)), "fi_recv");
    for (;;) {
        fi_cq_entry entry{};
        fi_cq_read(node.cq, &entry, 1);
        sched_yield();
    }
}

/// A process of its own, and a pipe there and back.
template <typename Life>
Peer start(Life&& life)
{
    std::array<int, 2> up{};
    std::array<int, 2> down{};
    if (pipe(up.data()) != 0 || pipe(down.data()) != 0) {
        fail("pipe");
    }
    const pid_t pid = fork();
    if (pid == 0) {
        life(up[1], down[0]);
        std::exit(0);
    }
    close(up[1]);
    close(down[0]);
    return {pid, down[1], up[0]};
}

Peer start_peer(std::uint32_t senders, const char* network)
{
    return start([=](int to, int from) { be_the_peer(senders, network, nullptr, to, from); });
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

/// One eager message, and one so large that it must first be invited: each ends in one error, which names the
/// peer.
void send_in_vain(Node& node)
{
    const auto begun = Clock::now();
    std::vector<char> small(1, 'x');
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
            std::printf("after %.2f s: %s: %s\n", std::chrono::duration<double>(Clock::now() - begun).count(),
                        fi_strerror(error.err), text);
            if (error.op_context != outstanding[0] && error.op_context != outstanding[1]) {
                fail("the error names no operation of ours");
            }
            if (std::strstr(text, node.peer_port.c_str()) == nullptr) {
                fail(("the text does not name the peer " + node.peer_text).c_str());
            }
            ++errors;
        } else if (Clock::now() - begun > patience) {
            fail("no error completion for a dead peer");
        } else {
            sched_yield();
        }
    }
}

/// The peer has been heard.
void meet(Node& node, const Peer& peer)
{
    node.open();
    node.exchange(peer.to, peer.from);
    std::vector<char> small(1, 'x');
    send_one(node, small);
}

void kill_test(const char* ours, const char* theirs)
{
    const Peer peer = start_peer(0, theirs);
    if (ours != nullptr) {
        enter_namespace(ours);
    }
    Node node;
    meet(node, peer);

    kill(peer.pid, SIGKILL);
    waitpid(peer.pid, nullptr, 0);
    send_in_vain(node);
    node.close();
    std::printf("every outstanding operation failed, once, with the peer's name\n");
}

void expect_success(const Peer& peer, const char* what = "the peer did not get everything")
{
    int status = 0;
    waitpid(peer.pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail(what, status);
    }
}

void tell(int to)
{
    if (write(to, "x", 1) != 1) {
        fail("pipe");
    }
}

void await(int from)
{
    char byte = 0;
    if (read(from, &byte, 1) != 1) {
        fail("another process has ended");
    }
}

/// One of the others that send to the peer. They meet it first, and flood it when they are told.
Peer start_flooder(std::uint32_t sender, std::uint32_t senders, seconds pause, const char* network)
{
    return start([=](int to, int from) {
        if (network != nullptr) {
            enter_namespace(network);
        }
        Node node;
        node.open();
        Address peer{};
        if (read(from, peer.data(), peer.size()) != static_cast<ssize_t>(peer.size())) {
            fail("a flooder was told no address");
        }
        node.insert(peer);
        send_all(node, sender, senders, pause, [=] {
            tell(to);
            await(from);
        });
        node.close();
    });
}

void stop_test(std::uint32_t senders, unsigned pause, const char* ours, const char* theirs)
{
    const Peer peer = start_peer(senders, theirs);
    std::vector<Peer> flooders;
    for (std::uint32_t sender = 1; sender < senders; ++sender) {
        flooders.push_back(start_flooder(sender, senders, seconds(pause), ours));
    }
    if (ours != nullptr) {
        enter_namespace(ours);
    }
    Node node;
    node.open();
    node.exchange(peer.to, peer.from);
    for (const Peer& flooder : flooders) {
        if (write(flooder.to, node.peer_address.data(), node.peer_address.size()) < 0) {
            fail("pipe");
        }
    }
    const auto stop = [&] {
        for (const Peer& flooder : flooders) {
            await(flooder.from);
        }
        kill(peer.pid, SIGSTOP);
        std::printf("the peer is stopped for %u s, messages to it are outstanding\n", pause);
        for (const Peer& flooder : flooders) {
            tell(flooder.to);
        }
        // Go on asking for completions, as an application does that waits.
        const auto resume = Clock::now() + seconds(pause);
        while (Clock::now() < resume) {
            fi_cq_read(node.cq, nullptr, 0);
            usleep(1000);
        }
        kill(peer.pid, SIGCONT);
    };
    send_all(node, 0, senders, seconds(0), stop);
    expect_success(peer);
    for (const Peer& flooder : flooders) {
        expect_success(flooder, "a flooder failed");
    }
    node.close();
    std::printf("%u messages of %u senders arrived once, in order and intact\n", messages / senders * senders,
                senders);
}

void run_command(const char* command)
{
    if (std::system(command) != 0) { // NOLINT(cert-env33-c) of the script that calls this program
        fail(command);
    }
}

void reuse_test(const char* cut, const char* mend, const char* ours, const char* theirs)
{
    const Peer peer = start_peer(0, theirs);
    const Peer successor = start([=](int to, int from) { // waits until it is told its address
        Address address{};
        if (read(from, address.data(), address.size()) == static_cast<ssize_t>(address.size())) {
            be_the_peer(1, theirs, &address, to, from);
        }
    });
    enter_namespace(ours);
    Node node;
    meet(node, peer);
    const Address address = node.peer_address;

    run_command(cut);
    send_in_vain(node);
    kill(peer.pid, SIGKILL);
    waitpid(peer.pid, nullptr, 0);
    if (write(successor.to, address.data(), address.size()) < 0) {
        fail("pipe");
    }
    node.exchange(successor.to, successor.from);
    if (std::memcmp(node.peer_address.data(), address.data(), sizeof(sockaddr_in)) != 0) {
        fail("the successor has another address");
    }
    run_command(mend);
    send_all(node, 0, 1, seconds(0), [] {});
    expect_success(successor);
    node.close();
    std::printf("the successor at the address got its messages, and no others\n");
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
    if ((what == "stop" || what == "flood") && argc <= 5 && argc != 4) {
        const auto pause = static_cast<unsigned>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 20);
        stop_test(what == "flood" ? 8 : 1, pause, argc == 5 ? argv[3] : nullptr,
                  argc == 5 ? argv[4] : nullptr);
        return 0;
    }
    if (what == "reuse" && argc == 6) {
        reuse_test(argv[2], argv[3], argv[4], argv[5]);
        return 0;
    }
    std::fprintf(stderr,
                 "usage: peer_death kill [OURS THEIRS] | stop|flood [SECONDS] [OURS THEIRS] | reuse CUT "
                 "MEND OURS THEIRS\n");
    return 2;
}
