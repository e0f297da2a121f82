# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Starts two clients of a benchmark as a pair, bounded in time, and reads what they measured."""
import contextlib
import json
import os
import pathlib
import platform
import re
import secrets
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Each group is a run of its own, so that asking for remote memory does not change the messages' way.
GROUPS = {"messages": ("latency", "send_latency", "rate", "bandwidth"),
          "remote": ("write_ping", "write_latency", "write_bandwidth", "read_latency", "read_bandwidth", "fetch_add_latency",
                     "fetch_add_rate")}
TESTS = tuple(test for group in GROUPS.values() for test in group)


def is_srd(provider):
    """"srd" is its default backend, "srd:packet" the backend packet (FI_SRD_BACKEND), "srd:shm" the default backend
    with shared memory beside it (FI_SRD_SHM), "srd:sealed" the default backend with a job key."""
    return provider.split(":")[0] == "srd"


def raise_priority():
    """In the child, in a session of its own: nice for machines without autogroup scheduling and with it."""
    os.nice(-20)
    with contextlib.suppress(FileNotFoundError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write("-20")


def describe_failure(failures):
    """None, or the lines of both ranks. "The other process is gone" is a consequence, not a cause."""
    causes = [line for line in failures if "control channel" not in line and "exit status" not in line]
    return "; ".join(causes or failures) or None


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def describe_machine(arguments):
    def read(path):
        try:
            return pathlib.Path(path).read_text(encoding="utf-8")
        except OSError:
            return ""
    model = re.search(r"model name\s*:\s*(.*)", read("/proc/cpuinfo"))
    return {"cpu": model.group(1) if model else platform.processor(), "cpus": os.cpu_count(),
            "kernel": platform.release(), "system": platform.platform(), "load": os.getloadavg()[0],
            "libfabric": " ".join(first_line(["fi_info", "--version"])),
            "rmem_max": read("/proc/sys/net/core/rmem_max").strip(),
            "wmem_max": read("/proc/sys/net/core/wmem_max").strip(),
            "commit": "".join(first_line(["git", "-C", str(HERE), "describe", "--always", "--dirty"])[:1]),
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


class Runner:
    """Runs one provider on one network: two processes, bounded in time."""
    look_interval = 0.005  # seconds between looks at the processes: each costs time of their processors

    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = pathlib.Path(folder)
        self.cpus = sorted(os.sched_getaffinity(0))

    def points(self, environment, group):
        sizes = self.arguments.settings["sizes" if environment.offloads else "lossy"]
        return {test: sizes.get(test, []) if test in self.arguments.tests else [] for test in GROUPS[group]}

    def seconds(self, environment):
        return self.arguments.settings["seconds" if environment.offloads else "lossy_seconds"]

    def command(self, provider, environment, group, side, rank, control_fd):
        settings = self.arguments.settings
        program = "raw_udp" if provider == "raw-udp" else "compare_client"
        command = [*side.prefix, str(self.arguments.build_dir / "bin" / program), "--rank", str(rank),
                   "--control-fd", str(control_fd), "--seconds", str(self.seconds(environment)),
                   "--timeout", str(settings["stall"]), "--segment", str(environment.segment)]
        if len(self.cpus) > 1:
            command += ["--cpu", str(self.cpus[rank])]
        if provider != "raw-udp":
            command += ["--provider", provider.split(":")[0]]
        if provider != "shm":
            command += ["--address", side.address]
        for test, sizes in self.points(environment, group).items():
            if sizes:
                command += [f"--{test}", ",".join(map(str, sizes))]
        return command

    def environment_variables(self, provider, rank):
        base = {name: text for name, text in os.environ.items() if not name.startswith("FI_")}
        # rxm is the layer that makes tcp reliable datagrams in libfabric 1.x.
        name, _, backend = provider.partition(":")
        layers = {"tcp": "tcp,ofi_rxm"}.get(name, name.replace(";", ","))
        # Both processes are on this host, whatever their namespaces; what is measured is the network.
        base["FI_SRD_SHM"] = "1" if backend == "shm" else "0"
        if backend == "sealed":
            base["FI_SRD_JOB_KEY_FILE"] = str(self.job_key())
        elif backend not in ("", "shm"):
            base["FI_SRD_BACKEND"] = backend
        return {**base, "FI_PROVIDER": layers, "FI_PROVIDER_PATH": str(self.arguments.build_dir / "lib"),
                "FI_SRD_STATS": str(self.stats_path(rank))}

    def job_key(self):
        path = self.folder / "job_key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        return path

    def stats_path(self, rank):
        return self.folder / f"stats{rank}"

    def start(self, provider, environment, group, sides, output):
        ends = socket.socketpair()
        processes = []
        try:
            for rank in (0, 1):
                with contextlib.suppress(FileNotFoundError):
                    self.stats_path(rank).unlink()
                processes.append(subprocess.Popen(
                    self.command(provider, environment, group, sides[rank], rank, ends[rank].fileno()),
                    env=self.environment_variables(provider, rank), pass_fds=[ends[rank].fileno()],
                    stdin=subprocess.DEVNULL, stdout=output[rank][0], stderr=output[rank][1],
                    start_new_session=True, preexec_fn=raise_priority if self.arguments.priority else None))
        except BaseException:
            for process in processes:
                process.kill()
            raise
        finally:
            for end in ends:
                end.close()
        return processes

    def wait(self, processes, limit):
        """None, or what went wrong. No process outlives this call."""
        deadline = time.monotonic() + limit
        try:
            while any(process.poll() is None for process in processes):
                codes = [process.poll() for process in processes]
                if any(code not in (None, 0) for code in codes):
                    deadline = min(deadline, time.monotonic() + 1.0 + 0.25 * self.arguments.settings["stall"])
                if time.monotonic() > deadline:
                    hung = all(code in (None, 0) for code in codes)
                    return f"hung: killed after {limit:.0f} s" if hung else None
                time.sleep(self.look_interval)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        return None

    def run(self, provider, environment, group, sides, repetition):
        points = self.points(environment, group)
        settings = self.arguments.settings
        count = sum(len(sizes) for sizes in points.values())
        limit = 2 * settings["stall"] + 5 + 6 * count * self.seconds(environment)
        started = time.monotonic()
        with contextlib.ExitStack() as files:
            output = [[files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)] for _ in range(2)]
            processes = self.start(provider, environment, group, sides, output)
            error = self.wait(processes, limit)
            texts = []
            for pair in output:
                for one in pair:
                    one.seek(0)
                texts.append([one.read() for one in pair])
        failures = []
        for rank, process in enumerate(processes):
            if process.returncode != 0:
                said = [line for line in texts[rank][1].strip().splitlines() if not line.startswith("/")]  # no backtrace
                failures.append(f"rank {rank}: {said[-1]}" if said else f"rank {rank}: exit status {process.returncode}")
        lines = [json.loads(line) for line in texts[0][0].splitlines() if line.startswith("{")]
        one = {"environment": environment.name, "provider": provider, "group": group, "repetition": repetition,
               "command": processes[0].args, "seconds": round(time.monotonic() - started, 3),
               "info": next((line["info"] for line in lines if "info" in line), {}),
               "results": [line for line in lines if "test" in line],
               "error": error or describe_failure(failures)}
        if is_srd(provider):
            self.check_statistics(one)
            self.check_way(one)
        return one

    def check_statistics(self, one):
        """The proof that srd carried it: its own counters cover at least what was measured."""
        endpoints = [json.loads(line) for path in map(self.stats_path, (0, 1)) if path.exists()
                     for line in path.read_text(encoding="utf-8").splitlines()]
        one["srd_statistics"] = endpoints

        def counted(name):
            return sum(endpoint[name] for endpoint in endpoints)

        def measured(prefix, weight):
            return sum(weight(result) * (result.get("messages") or result["samples"]) for result in one["results"]
                       if result["test"].startswith(prefix))

        checks = [("tx_message_bytes", measured(("latency", "send_latency", "rate", "bandwidth"), lambda result: result["size"])),
                  ("tx_writes", measured("write", lambda result: 1)),
                  ("tx_reads", measured("read", lambda result: 1)),
                  ("tx_atomics", measured("fetch_add", lambda result: 1))]
        for name, wanted in checks:
            if not one["error"] and counted(name) < wanted:
                one["error"] = f"srd's own statistics show {name} {counted(name)}, but {wanted} were measured"

    @staticmethod
    def check_way(one):
        """Shared memory carried most of srd:shm's packets and messages, and none of the others'."""
        messages, sent, by_memory = (sum(endpoint[name] for endpoint in one["srd_statistics"])
                                     for name in ("io_shm_messages", "tx_packets", "io_shm_packets"))
        sent += messages
        by_memory += messages
        expected = by_memory > 0.5 * sent if one["provider"] == "srd:shm" else by_memory == 0
        if not one["error"] and not expected:
            one["error"] = f"{by_memory} of {sent} packets and messages went through shared memory"
