// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/diagnosis.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iomanip>
#include <sstream>

#include "io/core/ip_header.hpp"

namespace srd::tool {

namespace {

constexpr double much_loss = 0.2; // srd lives with less, slowly
constexpr double some_loss = 0.001;

/// The judgement on one pair of hosts. Each part is about one kind of observation.
class Diagnosis {
public:
    Diagnosis(const Observations& seen, Findings& findings)
        : seen_(seen), findings_(findings), host_(seen.target.host_text()), there_(seen.target.text()),
          here_("port " + std::to_string(seen.local_port) + " of this host")
    {
    }

    void all()
    {
        if (seen_.local_port == 0) {
            findings_.broken("network",
                             "there is no way to " + host_ + " (no route, or no address of its family)",
                             "ip route get " + host_ + " tells more");
            return;
        }
        if (nobody_there(seen_.tcp) || nobody_there(seen_.answers.rejection)) {
            findings_.broken("network",
                             "no host answers for " + host_ +
                                 " on the link: it is down, or nobody has that address",
                             "ip neighbour show " + host_ + "; check the address and the cable");
            return;
        }
        tcp_there();
        if (seen_.doctor) {
            udp_with_doctor();
            tcp_back();
        } else {
            udp_alone();
        }
        sizes();
        train("loss to " + host_, seen_.train_there);
        if (seen_.back.arrived != 0) {
            train("loss from " + host_, seen_.train_back);
        }
        if (seen_.doctor_lost && seen_.doctor) {
            findings_.warning("doctor", "the one at " + host_ + " fell silent before all was seen",
                              "try again");
        }
        round_trips();
        ports();
        versions();
    }

private:
    bool udp_answers() const { return seen_.answers.arrived != 0; }
    /// This host's kernel has looked for the target, or the gateway to it, in vain.
    bool nobody_there(const Rejection& rejection) const
    {
        return rejection.error == EHOSTUNREACH && !udp_answers() &&
               (rejection.by.empty() || rejection.by.same_host(seen_.local));
    }
    std::string open_udp(const std::string& where) const
    {
        return "allow UDP to " + where +
               " (its firewall, security groups, and what is between; docs/firewalls.md)";
    }
    /// A cause that is out of the question where we have started the doctor.
    std::string unless_started(const std::string& text) const { return seen_.started ? "" : text; }
    std::string run_doctor() const
    {
        return unless_started("run srd doctor --listen on " + host_ +
                              ", or srd doctor --ssh (--srun) here, which does so; if it runs, ");
    }
    std::string culprit(const Rejection& rejection) const
    {
        if (rejection.by.empty()) {
            return "somebody on the way";
        }
        return rejection.by.same_host(seen_.target) ? host_ + " itself" : rejection.by.host_text();
    }

    void tcp_there();
    void udp_with_doctor();
    bool tell_passage(const std::string& topic, const Passage& passage, const std::string& own_firewall,
                      const std::string& cure);
    void udp_to_host();
    void udp_from_host();
    void udp_alone();
    void tcp_back();
    void sizes();
    void size(const std::string& direction, const PacketSize& size, const PacketSize& opposite);
    void train(const std::string& topic, const TrainResult& result);
    void round_trips();
    void ports();
    void versions();

    const Observations& seen_;
    Findings& findings_;
    const std::string host_, there_, here_;
};

void Diagnosis::tcp_there()
{
    const std::string topic = "TCP to " + host_;
    const std::string effect = "; srd works without, but cannot tell a stopped process from a dead one";
    const std::string cure = "allow TCP to " + there_ + " (docs/firewalls.md)";
    const Rejection& tcp = seen_.tcp;
    if (tcp.error == 0 && seen_.doctor) {
        findings_.ok(topic, there_ + " connects");
    } else if (tcp.error == 0) {
        findings_.broken(topic,
                         there_ + " connects, but no doctor answers: another program has the port, or the "
                                  "doctor is busy with somebody else",
                         "run srd doctor --listen on " + host_ + ", and name its port: " + host_ + ":PORT");
    } else if (!tcp.by.empty()) {
        findings_.warning(
            topic, "TCP to " + there_ + " is rejected by " + culprit(tcp) + ": a firewall" + effect, cure);
    } else if (udp_answers()) {
        const bool refused = tcp.error == ECONNREFUSED;
        findings_.warning(topic,
                          std::string("UDP passes, but TCP is ") + (refused ? "rejected" : "blocked") +
                              ": a firewall " + (refused ? "rejects" : "drops") + " TCP to " + there_ +
                              effect,
                          cure);
    } else if (tcp.error == ECONNREFUSED) {
        findings_.broken(topic,
                         there_ + " refuses the connection: " +
                             (seen_.started ? "the doctor was started on another host of that name"
                                            : "no doctor listens there") +
                             ", or a firewall rejects TCP",
                         run_doctor() + cure);
    } else if (tcp.error == ETIMEDOUT) {
        findings_.broken(topic,
                         "no answer from " + there_ + ": a firewall drops TCP, or " +
                             unless_started("the host is down, or ") + "this is not its address",
                         "ping " + host_ + "; if it lives, " + cure);
    } else {
        findings_.broken(topic, there_ + " cannot be reached: " + std::strerror(tcp.error),
                         "ip route get " + host_ + " tells more");
    }
}

/// What needs no look at anything else: it passes, or its sender's own firewall drops it. False: neither.
bool Diagnosis::tell_passage(const std::string& topic, const Passage& passage,
                             const std::string& own_firewall, const std::string& cure)
{
    if (passage.arrived != 0) {
        findings_.ok(topic, std::to_string(passage.arrived) + " of " + std::to_string(passage.sent) +
                                " datagrams arrived");
        return true;
    }
    if (passage.sent == 0 && passage.send_error == EPERM) {
        findings_.broken(topic, own_firewall, cure + " (nft list ruleset, iptables -S OUTPUT)");
        return true;
    }
    return false;
}

void Diagnosis::udp_to_host()
{
    const std::string topic = "UDP to " + host_;
    const Passage& there = seen_.there;
    if (tell_passage(topic, there, "this host's own firewall drops UDP that leaves for " + there_,
                     "allow it out")) {
        return;
    }
    if (there.rejection.error != 0) {
        findings_.broken(topic,
                         "UDP to " + there_ + " is rejected by " + culprit(there.rejection) +
                             ", though a doctor listens "
                             "there: a firewall rejects it",
                         open_udp(there_));
    } else {
        findings_.broken(topic,
                         "UDP to " + there_ +
                             " never arrives, while TCP does: a firewall drops UDP in that direction",
                         open_udp(there_));
    }
}

void Diagnosis::udp_from_host()
{
    const std::string topic = "UDP from " + host_;
    if (tell_passage(topic, seen_.back, host_ + "'s own firewall drops UDP that leaves for this host",
                     "allow it out there")) {
        return;
    }
    if (udp_answers()) {
        findings_.broken(topic,
                         "UDP from " + host_ + " arrives as answers only: a stateful firewall drops what " +
                             host_ + " sends unasked, by other ports, as srd's paths do",
                         open_udp(here_));
    } else {
        findings_.broken(topic,
                         "UDP from " + host_ + " to " + here_ +
                             " never arrives, while TCP does: a firewall drops UDP in "
                             "that direction",
                         open_udp(here_));
    }
}

void Diagnosis::udp_with_doctor()
{
    udp_to_host();
    if (seen_.back.tried) {
        udp_from_host();
    }
    if (seen_.back.tried && seen_.there.arrived == 0 && seen_.back.arrived == 0) {
        findings_.broken("UDP", "UDP between this host and " + host_ + " passes in neither direction",
                         "see both directions above");
    }
}

/// Without TCP nobody tells what arrived there.
void Diagnosis::udp_alone()
{
    const std::string topic = "UDP";
    const Passage& answers = seen_.answers;
    if (udp_answers()) {
        findings_.ok(topic, there_ + " answered " + std::to_string(answers.arrived) + " of " +
                                std::to_string(answers.sent) + " questions");
        if (seen_.other_answers.arrived == 0) {
            findings_.broken(
                "UDP from " + host_,
                "no answer arrives from another port than the one that was asked: a stateful firewall "
                "drops what srd's paths send",
                open_udp(here_));
        }
    } else if (answers.sent == 0 && answers.send_error == EPERM) {
        findings_.broken(topic, "this host's own firewall drops UDP that leaves for " + there_,
                         "allow it out (nft list ruleset, iptables -S OUTPUT)");
    } else if (answers.rejection.error != 0) {
        findings_.broken(topic,
                         "UDP to " + there_ + " is rejected by " + culprit(answers.rejection) +
                             ": a firewall rejects it" + unless_started(", or no doctor listens there"),
                         run_doctor() + open_udp(there_));
    } else {
        findings_.broken(topic,
                         "no UDP comes back from " + there_ +
                             ": a firewall drops it in one direction or both (which, "
                             "cannot be told while TCP is blocked, too)" +
                             unless_started(", or no doctor listens there"),
                         run_doctor() + open_udp("both hosts"));
    }
}

void Diagnosis::tcp_back()
{
    if (!seen_.tcp_back) {
        return;
    }
    const std::string topic = "TCP from " + host_;
    const Rejection& back = *seen_.tcp_back;
    if (back.error == 0) {
        findings_.ok(topic, here_ + " was connected to");
        return;
    }
    const bool dropped = back.error == ETIMEDOUT;
    findings_.warning(
        topic,
        "TCP from " + host_ + " to " + here_ + " is " + (dropped ? "dropped" : "rejected") +
            (back.by.empty() ? "" : " by " + back.by.host_text()) +
            ": a firewall; srd works without, but cannot tell a stopped process from a dead one",
        "allow TCP to " + here_ + " (docs/firewalls.md)");
}

void Diagnosis::size(const std::string& direction, const PacketSize& size, const PacketSize& opposite)
{
    const std::uint32_t other_link = opposite.link;
    if (!size.tried) {
        return;
    }
    const std::string topic = "packets " + direction;
    const std::string links =
        "the interfaces have MTU " + std::to_string(size.link) +
        (other_link == 0 ? "" : " (sender) and " + std::to_string(other_link) + " (receiver)");
    if (size.largest == size.link || (size.link > 65535 && size.largest == 65535)) {
        findings_.ok(topic,
                     "of " + std::to_string(size.largest) + " bytes, the interface's MTU, pass in one piece");
    } else if (size.largest == 0) {
        findings_.broken(topic, "not even packets of 576 bytes pass; shorter ones do",
                         "raise the MTU of the links between the hosts");
    } else if (size.told != 0) {
        findings_.ok(topic, "of up to " + std::to_string(size.largest) +
                                " bytes pass; a router tells so (ICMP), and " + links);
    } else {
        const std::uint32_t both = other_link == 0 ? size.link : std::min(size.link, other_link);
        findings_.warning(
            topic,
            "an MTU hole: packets of more than " + std::to_string(size.largest) +
                " bytes vanish without a word; " + links +
                (other_link != 0 && other_link < size.link ? ", which should be equal" : "") +
                ". srd finds that out by itself, after losses",
            "give all interfaces, bridges and switch ports between the hosts MTU " + std::to_string(both) +
                ", or both hosts MTU " +
                std::to_string(opposite.tried ? std::min(size.largest, opposite.largest) : size.largest) +
                " (ip link set DEVICE mtu N)");
    }
}

void Diagnosis::sizes()
{
    size("to " + host_, seen_.size_there, seen_.size_back);
    size("from " + host_, seen_.size_back, seen_.size_there);
}

void Diagnosis::train(const std::string& topic, const TrainResult& result)
{
    if (!result.tried || result.sent == 0) {
        return;
    }
    const std::uint32_t lost = result.sent - std::min(result.sent, result.arrived);
    const double share = static_cast<double>(lost) / result.sent;
    std::ostringstream text;
    text << std::fixed << std::setprecision(2) << share * 100 << " %, " << lost << " of " << result.sent
         << " datagrams by " << result.ports
         << " source ports; overtaken: " << 100.0 * result.late / std::max(result.arrived, 1U) << " %";
    if (!result.silent_ports.empty()) {
        text << "; by " << result.silent_ports.size() << " of the source ports nothing arrives ("
             << port_list(result.silent_ports)
             << "): one of several paths that a switch chooses from is dead";
        findings_.warning(topic, text.str(),
                          "look for a failed link or switch between the hosts; srd avoids it");
    } else if (share >= much_loss) {
        findings_.broken(topic, text.str() + ": the network is not usable",
                         "look for a bad cable, a duplex mismatch, an overloaded link or a rate limit");
    } else if (share > some_loss) {
        findings_.warning(topic, text.str() + ": srd repeats what is lost, and is slower",
                          "look for a bad cable, an overloaded link, small buffers or a rate limit");
    } else {
        findings_.ok(topic, text.str());
    }
}

void Diagnosis::round_trips()
{
    const std::vector<double>& times = seen_.round_trips_us;
    if (times.empty()) {
        return;
    }
    const auto at = [&](std::size_t percent) { return times[(times.size() - 1) * percent / 100]; };
    std::ostringstream text;
    text << std::fixed << std::setprecision(0) << "min " << at(0) << ", median " << at(50) << ", 90 % "
         << at(90) << ", 99 % " << at(99) << ", max " << at(100) << " us (" << times.size()
         << " datagrams through both kernels, asleep between)";
    findings_.ok("round trip", text.str());
}

void Diagnosis::ports()
{
    if (seen_.range_ports.empty()) {
        return;
    }
    const std::string count = std::to_string(seen_.range_ports.size());
    if (seen_.closed_ports.empty()) {
        findings_.ok("ports of " + host_,
                     "all " + count + " that were free there take UDP: " + port_list(seen_.range_ports));
    } else {
        findings_.broken("ports of " + host_,
                         "of " + count + " ports these take no UDP: " + port_list(seen_.closed_ports),
                         "allow the whole of FI_SRD_PORT_RANGE (docs/firewalls.md)");
    }
}

void Diagnosis::versions()
{
    if (!seen_.doctor) {
        return;
    }
    if (seen_.version == SRD_VERSION) {
        findings_.ok("versions",
                     "both hosts have srd " + seen_.version + "; libfabric there: " + seen_.libfabric);
    } else {
        findings_.warning("versions", "srd here is " SRD_VERSION ", at " + host_ + " " + seen_.version,
                          "install the same version on all hosts");
    }
}

} // namespace

void diagnose(const Observations& seen, Findings& findings)
{
    Diagnosis(seen, findings).all();
}

std::string port_list(const std::vector<std::uint16_t>& ports)
{
    std::string text;
    for (std::size_t i = 0; i < ports.size();) {
        std::size_t end = i + 1;
        while (end < ports.size() && ports[end] == ports[end - 1] + 1) {
            ++end;
        }
        text += ", ";
        text += std::to_string(ports[i]);
        if (end - i > 1) {
            text += '-' + std::to_string(ports[end - 1]);
        }
        i = end;
    }
    return text.empty() ? text : text.substr(2);
}

} // namespace srd::tool
