// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// For starting threads of our own in somebody else's process.
#pragma once

#include <csignal>
#include <system_error>

namespace srd {

/// The application's signal handlers must not run on a thread it does not know: while one lives, no signal
/// comes to the calling thread and to those that it starts.
class SignalsBlocked {
public:
    /// Throws std::system_error.
    SignalsBlocked()
    {
        sigset_t all;
        sigfillset(&all);
        if (const int code = pthread_sigmask(SIG_SETMASK, &all, &before_); code != 0) {
            throw std::system_error(code, std::generic_category(), "pthread_sigmask");
        }
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

} // namespace srd
