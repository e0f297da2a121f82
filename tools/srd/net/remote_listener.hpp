// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd doctor --ssh, --srun: the doctor at the other host is started and ended from here.
//
// It runs as long as its stdin is open (--until-eof): that ends with this process, however it ends, and with
// ssh or srun, or their connection. Where nobody notices that a connection is cut, its own bound (--seconds)
// ends it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <srd/port_range.hpp>

#include "findings.hpp"
#include "net/child_process.hpp"

namespace srd::tool {

enum class Starter { ssh, srun };

struct RemoteOptions {
    Starter starter = Starter::ssh;
    std::string host;       ///< as ssh or srun knows it
    std::uint16_t port = 0; ///< 0: as the listener chooses
    PortRange range;
    std::string program; ///< where srd lies there: an absolute path
};

/// What is run here. `in_job`: within a job of Slurm, whose allocation it then uses beside what runs there.
std::vector<std::string> start_command(const RemoteOptions& options, bool in_job);

class RemoteListener {
public:
    explicit RemoteListener(RemoteOptions options) : options_(std::move(options)) {}

    /// Starts it and waits until it listens. False: a finding tells why it does not.
    bool start(Findings& findings, std::chrono::seconds patience = std::chrono::seconds(30));
    /// At which it listens.
    std::uint16_t port() const noexcept { return port_; }
    /// Ends it; a finding if it has ended by itself.
    void end(Findings& findings);

private:
    std::string topic() const;
    bool hear_port();
    /// And what ssh, srun or srd said last.
    std::string with_last_line(const std::string& text) const;
    bool has_said(const std::string& words) const;
    void explain_end(Findings& findings) const;
    void explain_silence(Findings& findings, std::chrono::seconds patience) const;

    const RemoteOptions options_;
    ChildProcess child_;
    std::uint16_t port_ = 0;
};

} // namespace srd::tool
