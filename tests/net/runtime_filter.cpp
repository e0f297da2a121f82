// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Runs a command under a filter of system calls that refuses what the default filters of the common container
// runtimes (Docker, containerd, Podman) refuse a container without capabilities, in the same way: EPERM, but
// ENOSYS for clone3, so that libraries fall back to clone, whose flags can be looked at.
//   runtime_filter [--no-process-vm] COMMAND [ARGUMENT...]
//   --no-process-vm   also what they refused on kernels before 4.8: to read other processes' memory
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

#if defined(__x86_64__)
constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned architecture = 0;
#endif

constexpr long refused[] = {
    SYS_acct,
    SYS_add_key,
    SYS_bpf,
    SYS_chroot,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_get_mempolicy,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kcmp,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_lookup_dcookie,
    SYS_mbind,
    SYS_migrate_pages,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_move_pages,
    SYS_nfsservctl,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pidfd_getfd,
    SYS_pivot_root,
    SYS_process_madvise,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    SYS_set_mempolicy,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
#if defined(__x86_64__)
    SYS_ioperm,
    SYS_iopl,
    SYS_sysfs,
    SYS_uselib,
    SYS_ustat,
#endif
};
constexpr long memory_of_others[] = {SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace};

constexpr unsigned namespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

class Filter {
public:
    Filter()
    {
        load(offsetof(seccomp_data, arch));
        jump(BPF_JEQ, architecture, 1, 0);
        end(SECCOMP_RET_KILL_PROCESS);
        load(offsetof(seccomp_data, nr));
        fail(SYS_clone3, ENOSYS);
    }
    void refuse(long call) { fail(call, EPERM); }
    /// The call is refused if `test` of its first argument says so.
    void refuse_if(long call, unsigned short test, unsigned value)
    {
        jump(BPF_JEQ, static_cast<unsigned>(call), 0, 4);
        load(offsetof(seccomp_data, args));
        jump(test, value, 0, 1);
        end(SECCOMP_RET_ERRNO | EPERM);
        end(SECCOMP_RET_ALLOW);
    }
    bool install()
    {
        end(SECCOMP_RET_ALLOW);
        const sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
    }

private:
    void fail(long call, unsigned error)
    {
        jump(BPF_JEQ, static_cast<unsigned>(call), 0, 1);
        end(SECCOMP_RET_ERRNO | error);
    }
    void load(std::size_t offset)
    {
        code_.push_back({BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<unsigned>(offset)});
    }
    void jump(unsigned short test, unsigned value, unsigned char yes, unsigned char no)
    {
        code_.push_back({static_cast<unsigned short>(BPF_JMP | test | BPF_K), yes, no, value});
    }
    void end(unsigned verdict) { code_.push_back({BPF_RET | BPF_K, 0, 0, verdict}); }

    std::vector<sock_filter> code_;
};

} // namespace

int main(int argc, char** argv)
{
    const bool strict = argc > 1 && std::strcmp(argv[1], "--no-process-vm") == 0;
    char** const command = argv + (strict ? 2 : 1);
    if (architecture == 0 || command >= argv + argc) {
        std::fprintf(stderr, "usage: runtime_filter [--no-process-vm] COMMAND [ARGUMENT...]\n");
        return 2;
    }
    Filter filter;
    for (const long call : refused) {
        filter.refuse(call);
    }
    if (strict) {
        for (const long call : memory_of_others) {
            filter.refuse(call);
        }
    }
    filter.refuse_if(SYS_clone, BPF_JSET, namespaces);
    filter.refuse_if(SYS_socket, BPF_JEQ, AF_VSOCK);
    if (!filter.install()) {
        std::perror("runtime_filter: seccomp");
        return 2;
    }
    execvp(*command, command);
    std::perror(*command);
    return 127;
}
