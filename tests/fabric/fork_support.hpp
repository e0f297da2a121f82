// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Child processes for tests. A child reports by its exit status only, and leaves
// with _exit(): the test framework belongs to the parent.
#pragma once

#include <csignal>
#include <functional>

#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"

namespace fabric_test {

class Child {
public:
    /// Runs `body` in a child process; what it returns is the exit status.
    explicit Child(const std::function<int()>& body) : pid_(fork())
    {
        if (pid_ == 0) {
            int status = 255;
            try {
                status = body();
            } catch (...) { // a failed REQUIRE
            }
            _exit(status);
        }
        REQUIRE(pid_ > 0);
    }
    ~Child()
    {
        if (pid_ > 0) {
            kill();
        }
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    /// The exit status, or minus the signal that ended it.
    int wait()
    {
        int status = 0;
        REQUIRE(waitpid(pid_, &status, 0) == pid_);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    void kill()
    {
        ::kill(pid_, SIGKILL);
        (void)waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

private:
    pid_t pid_;
};

/// One process tells another: go on.
class Signpost {
public:
    Signpost() { REQUIRE(pipe(ends_) == 0); }
    ~Signpost()
    {
        close(ends_[0]);
        close(ends_[1]);
    }
    Signpost(const Signpost&) = delete;
    Signpost& operator=(const Signpost&) = delete;
    void tell() const
    {
        const char c = 'x';
        if (write(ends_[1], &c, 1) != 1) {
            _exit(254);
        }
    }
    void await() const
    {
        char c = 0;
        if (read(ends_[0], &c, 1) != 1) {
            _exit(254);
        }
    }

private:
    int ends_[2]{};
};

} // namespace fabric_test
