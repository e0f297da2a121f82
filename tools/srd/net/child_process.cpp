// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/child_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace srd::tool {

namespace {

constexpr std::size_t most_text = 65536;
constexpr milliseconds eof_patience{5000};    // the connection to another host may be slow
constexpr milliseconds signal_patience{3000}; // srun has to end its job

struct Pipe {
    FileDescriptor out, in; ///< to read from, to write to
};

bool open_pipe(Pipe& pipe)
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return false;
    }
    pipe.out = FileDescriptor(ends[0]);
    pipe.in = FileDescriptor(ends[1]);
    return true;
}

} // namespace

void ChildProcess::Stream::read()
{
    while (pipe.valid() && wait_readable({pipe.get()}, milliseconds(0))) {
        std::array<char, 4096> piece{};
        const ssize_t count = ::read(pipe.get(), piece.data(), piece.size());
        if (count <= 0) {
            pipe = FileDescriptor();
            return;
        }
        text.append(piece.data(), static_cast<std::size_t>(count));
        text.erase(0, text.size() - std::min(text.size(), most_text));
    }
}

int ChildProcess::start(const std::vector<std::string>& command)
{
    Pipe input, output, errors, failure;
    if (!open_pipe(input) || !open_pipe(output) || !open_pipe(errors) || !open_pipe(failure)) {
        return errno;
    }
    std::vector<char*> arguments;
    for (const std::string& word : command) {
        arguments.push_back(const_cast<char*>(word.c_str()));
    }
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM); // not all look at their stdin: srun in a queue does not
        ::setpgid(0, 0);                    // a terminal's Ctrl-C is for us, who end it in order
        ::dup2(input.out.get(), STDIN_FILENO);
        ::dup2(output.in.get(), STDOUT_FILENO);
        ::dup2(errors.in.get(), STDERR_FILENO);
        ::execvp(arguments[0], arguments.data());
        const int error = errno;
        const ssize_t told = ::write(failure.in.get(), &error, sizeof(error));
        ::_exit(told == sizeof(error) ? 127 : 126);
    }
    if (child < 0) {
        return errno;
    }
    pid_ = child;
    failure.in = FileDescriptor();
    int error = 0;
    if (::read(failure.out.get(), &error, sizeof(error)) == sizeof(error)) {
        reap(0);
        return error;
    }
    input_ = std::move(input.in);
    output_.pipe = std::move(output.out);
    errors_.pipe = std::move(errors.out);
    return 0;
}

/// False: it runs.
bool ChildProcess::reap(int options)
{
    int status = 0;
    if (pid_ > 0 && ::waitpid(pid_, &status, options) == pid_) {
        pid_ = -1;
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return pid_ < 0;
}

bool ChildProcess::attend(milliseconds patience)
{
    // Not until its pipes are closed: what it leaves behind may hold them, as a shared connection of ssh
    // does.
    wait_readable({output_.pipe.get(), errors_.pipe.get()}, std::min(patience, milliseconds(50)));
    const bool has_ended = reap(WNOHANG);
    output_.read();
    errors_.read();
    return !has_ended;
}

bool ChildProcess::ends_within(milliseconds patience)
{
    const Clock::time_point end = Clock::now() + patience;
    while (attend(milliseconds(50))) {
        if (Clock::now() > end) {
            return false;
        }
    }
    return true;
}

void ChildProcess::end()
{
    if (pid_ < 0) {
        return;
    }
    input_ = FileDescriptor();
    if (ends_within(eof_patience)) {
        return;
    }
    ::kill(-pid_, SIGTERM); // and what it has started here
    if (!ends_within(signal_patience)) {
        ::kill(-pid_, SIGKILL);
        reap(0);
    }
}

} // namespace srd::tool
