// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Child processes of tests, and what they share with their parent. A child reports by its exit status only,
// and leaves with _exit(): the test framework belongs to the parent. It begins before any endpoint is open:
// libfabric objects do not survive a fork.
#pragma once

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace srd::test {

/// A child that is killed when the object goes.
class Child {
public:
    /// Exit status of a child whose life ended in an exception, such as a failed REQUIRE.
    static constexpr int threw = 99;

    /// `life` runs in the child; its result is the exit status.
    explicit Child(const std::function<int()>& life) : pid_(::fork())
    {
        if (pid_ < 0) {
            throw std::runtime_error("fork");
        }
        if (pid_ == 0) {
            ::_exit(live(life));
        }
    }
    ~Child() { kill(); }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void signal(int number) const { ::kill(pid_, number); }
    /// Nothing if it has been waited for.
    void kill(int number = SIGKILL)
    {
        if (pid_ > 0) {
            ::kill(pid_, number);
            wait();
        }
    }
    /// The exit status, or minus the signal that ended it.
    int wait() { return wait_with(0).value(); }
    /// The same, or nothing while it runs.
    std::optional<int> poll() { return wait_with(WNOHANG); }

private:
    static int live(const std::function<int()>& life)
    {
        try {
            return life();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "child: %s\n", error.what());
        } catch (...) { // what a failed REQUIRE throws is no std::exception
            std::fprintf(stderr, "child: a requirement failed\n");
        }
        return threw;
    }
    std::optional<int> wait_with(int options)
    {
        int status = 0;
        const pid_t ended = ::waitpid(pid_, &status, options);
        if (ended == 0) {
            return std::nullopt;
        }
        if (std::exchange(pid_, -1) != ended) {
            throw std::runtime_error("waitpid");
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    pid_t pid_;
};

/// One process tells another: go on. Made before the child; each process uses one of the two calls.
class Signpost {
public:
    Signpost()
    {
        if (::pipe(ends_.data()) != 0) {
            throw std::runtime_error("pipe");
        }
    }
    ~Signpost()
    {
        ::close(ends_[0]);
        close_telling_end();
    }
    Signpost(const Signpost&) = delete;
    Signpost& operator=(const Signpost&) = delete;

    void tell() const
    {
        const char c = 'x';
        if (::write(ends_[1], &c, 1) != 1) {
            throw std::runtime_error("nobody waits at the signpost");
        }
    }
    /// Also ends, with an exception, when everybody who could tell has.
    void await()
    {
        close_telling_end();
        char c = 0;
        if (::read(ends_[0], &c, 1) != 1) {
            throw std::runtime_error("the other process ended without a word");
        }
    }

private:
    void close_telling_end()
    {
        if (ends_[1] >= 0) {
            ::close(std::exchange(ends_[1], -1));
        }
    }

    std::array<int, 2> ends_{};
};

/// A value in memory that this process shares with the children it makes later.
template <typename Value>
class Shared {
public:
    Shared()
    {
        void* const memory =
            ::mmap(nullptr, sizeof(Value), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            throw std::bad_alloc();
        }
        value_ = new (memory) Value();
    }
    ~Shared() { ::munmap(value_, sizeof(Value)); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    Value* operator->() const { return value_; }
    Value& operator*() const { return *value_; }

private:
    Value* value_ = nullptr;
};

} // namespace srd::test
