// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fork(): what a child may do with the objects it inherits. The law:
//
//  - The parent's communication goes on as if nothing had happened. The child
//    sends nothing in its name: its copies of the sockets are closed before
//    fork() returns there, and its copies of the endpoints are disabled
//    (-FI_EOPBADSTATE). Waiting is refused likewise.
//  - fi_close() of an inherited object returns 0 and touches nothing: no goodbye
//    to peers, no shared object removed, no thread waited for that is not there.
//  - The child may open a fabric of its own and work with that.
//
// vfork(), posix_spawn(), system() and popen() run no handlers: there all
// descriptors are close-on-exec.
#pragma once

#include <cstdint>

namespace srd {

/// Told in the child, in the only thread there is, while fork() has not returned yet.
class ForkObserver {
public:
    virtual void forked() noexcept = 0;

protected:
    ForkObserver(); ///< Throws std::bad_alloc, std::system_error.
    ~ForkObserver();
};

/// The answer of `call`, made in a child with what it inherited and cannot do: -FI_EOPBADSTATE, with a line.
int refuse_in_child(const char* call) noexcept;

/// How many fork()s made this process since srd was loaded: differs between parent and child.
std::uint32_t process_generation() noexcept;

} // namespace srd
