// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A program that runs beside this one. Its stdin stays open until we close it or end, however we end; what it
// writes is kept.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include <srd/file_descriptor.hpp>

#include "net/socket.hpp"

namespace srd::tool {

class ChildProcess {
public:
    ChildProcess() = default;
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;
    ~ChildProcess() { end(); }

    /// Once. 0, or errno: the program is not there, or cannot be run. `command`: it, looked for in PATH, and
    /// its arguments.
    int start(const std::vector<std::string>& command);
    /// Waits until it writes, or `patience` is over, and takes what it has written. False: it has ended.
    bool attend(milliseconds patience);
    /// Closes its stdin; what does not end then in some seconds is ended.
    void end();

    /// The last 64 KiB.
    const std::string& output() const noexcept { return output_.text; }
    const std::string& errors() const noexcept { return errors_.text; }
    /// Of one that has ended: its exit status, or 128 and the signal, as shells say it.
    int status() const noexcept { return status_; }

private:
    struct Stream {
        FileDescriptor pipe;
        std::string text;

        /// What is there; at the end of it the pipe is closed.
        void read();
    };

    bool reap(int options);
    bool ends_within(milliseconds patience);

    pid_t pid_ = -1; ///< -1: there is none, or none any more
    int status_ = -1;
    FileDescriptor input_;
    Stream output_, errors_;
};

} // namespace srd::tool
