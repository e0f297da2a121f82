# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Medians, tables with ratios, and single figures, from the raw runs of bench/compare."""
import statistics

TIMES = ("mean_us", "p50_us", "p99_us", "p999_us", "min_us", "max_us")
RATES = ("mmsg_s", "gb_s")
# By test: the figure that counts, and what its table is called.
TESTS = {
    "latency": ("mean_us", "tagged ping-pong, one way"),
    "send_latency": ("mean_us", "the same, each message with a completion, not injected"),
    "rate": ("mmsg_s", "message rate"),
    "bandwidth": ("gb_s", "bandwidth of messages"),
    "write_ping": ("mean_us", "fi_write ping-pong seen in memory, one way"),
    "write_latency": ("mean_us", "fi_write, from the call until it is there"),
    "write_bandwidth": ("gb_s", "bandwidth of fi_write"),
    "read_latency": ("mean_us", "fi_read, from the call until it is here"),
    "read_bandwidth": ("gb_s", "bandwidth of fi_read"),
    "fetch_add_latency": ("mean_us", "fetch-add, from the call until its result is here"),
    "fetch_add_rate": ("mmsg_s", "rate of fetch-adds"),
}
UNITS = {"mean_us": "us (ratio: srd / peer of the mean; below 1 srd is faster)",
         "mmsg_s": "million/s (in brackets: srd / peer; above 1 srd is faster)",
         "gb_s": "GB/s (in brackets: srd / peer; above 1 srd is faster)"}


def key_metric(test):
    return TESTS[test][0]


def metrics_of(test):
    return TIMES if key_metric(test) == "mean_us" else RATES


def medians(runs):
    """{(environment, provider, test, size): {metric: median over the repetitions}}"""
    samples = {}
    for one in runs:
        for result in one["results"]:
            key = (one["environment"], one["provider"], result["test"], result["size"])
            for metric in metrics_of(result["test"]):
                samples.setdefault(key, {}).setdefault(metric, []).append(result[metric])
    return {key: {metric: statistics.median(values) for metric, values in by_metric.items()}
            for key, by_metric in samples.items()}


def ordered(keys):
    return list(dict.fromkeys(keys))


def show_latency(table, environment, test, sizes, providers):
    print(f"    {'size':>8}  {'provider':<12}{'mean':>10}{'p50':>10}{'p99':>10}{'p99.9':>10}   ratio")
    for size in sizes:
        own = table.get((environment, "srd", test, size))
        for provider in providers:
            row = table.get((environment, provider, test, size))
            if row is None:
                continue
            ratio = f"{own['mean_us'] / row['mean_us']:8.2f}" if own and provider != "srd" else ""
            print(f"    {size:>8}  {provider:<12}" +
                  "".join(f"{row[metric]:10.2f}" for metric in TIMES[:4]) + ratio)


def show_stream(table, environment, test, sizes, providers):
    print(f"    {'size':>8}" + "".join(f"{provider:>20}" for provider in providers))
    for size in sizes:
        own = table.get((environment, "srd", test, size))
        cells = []
        for provider in providers:
            row = table.get((environment, provider, test, size))
            if row is None:
                cells.append("-")
            elif own is None or provider == "srd":
                cells.append(f"{row[key_metric(test)]:.3f}")
            else:
                cells.append(f"{row[key_metric(test)]:.3f} ({own[key_metric(test)] / row[key_metric(test)]:.2f})")
        print(f"    {size:>8}" + "".join(f"{cell:>20}" for cell in cells))


def show(runs, table):
    for environment in ordered(key[0] for key in table):
        print(f"\n== {environment}")
        for test, (metric, title) in TESTS.items():
            here = [key for key in table if key[0] == environment and key[2] == test]
            if not here:
                continue
            print(f"  {title}, {UNITS[metric]}")
            sizes, providers = sorted({key[3] for key in here}), ordered(key[1] for key in here)
            if metric == "mean_us":
                show_latency(table, environment, test, sizes, providers)
            else:
                show_stream(table, environment, test, sizes, providers)
    show_statistics(runs)
    failed = [one for one in runs if one["error"]]
    if failed:
        print(f"\n== {len(failed)} of {len(runs)} runs failed (their earlier points are in the tables)")
        for reason, count in ordered_count(f"{one['environment']}, {one['provider']}: {one['error']}"
                                           for one in failed):
            print(f"    {count} x {reason}")


def show_statistics(runs):
    """What srd's own counters say, both sides and all repetitions of a network together."""
    names = ("retransmits_rack", "retransmits_probe", "retransmits_timeout", "retransmits_spurious", "rx_duplicates",
             "io_rx_dropped", "tx_acks")
    rows = {}
    for one in runs:
        for endpoint in one.get("srd_statistics", []):
            row = rows.setdefault(one["environment"], dict.fromkeys(names + ("tx_packets",), 0))
            for name in row:
                row[name] += endpoint[name]
    if rows:
        print("\n== srd's own counters, in % of the packets it sent")
        print(f"    {'':<22}{'packets':>10}" + "".join(f"{name.removeprefix('retransmits_'):>14}" for name in names))
    for environment, row in rows.items():
        share = [100 * row[name] / max(row["tx_packets"], 1) for name in names]
        print(f"    {environment:<22}{row['tx_packets']:>10}" + "".join(f"{value:>14.3f}" for value in share))


def ordered_count(items):
    counts = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return [(item, count) for item, count in counts.items()]


def figure(name, measured, unit=""):
    return {"name": name, "measured": measured, "unit": unit}


def ratio(over, under):
    return over / under if over is not None and under else None


def figures(runs, table, engine):
    """What is told of srd in one number each, most of them ratios to others: a list of {name, measured, unit}."""
    result = []

    def value(environment, provider, test, size, metric=None):
        row = table.get((environment, provider, test, size))
        return row[metric or key_metric(test)] if row else None

    def state(*arguments, **keywords):
        result.append(figure(*arguments, **keywords))

    for net in ("loopback", "veth9000"):
        own = value(net, "srd", "latency", 64)
        state(f"{net}: 64 B ping-pong / raw UDP", ratio(own, value(net, "raw-udp", "latency", 64)))
        state(f"{net}: 64 B ping-pong / tcp", ratio(own, value(net, "tcp", "latency", 64)))
        state(f"{net}: 64 B message rate / tcp",
              ratio(value(net, "srd", "rate", 64), value(net, "tcp", "rate", 64)))
        state(f"{net}: 1 MiB bandwidth / tcp",
              ratio(value(net, "srd", "bandwidth", 1 << 20), value(net, "tcp", "bandwidth", 1 << 20)))
        state_remote(net, value, state)
    state_shm("loopback", value, state)
    for mtu in (9000, 1500):
        clean, lossy = f"veth{mtu}-noseg", f"veth{mtu}-noseg-loss1"
        state(f"1 % loss, MTU {mtu}: mean 64 B ping-pong / lossless",
              ratio(value(lossy, "srd", "latency", 64), value(clean, "srd", "latency", 64)))
        tail = value(lossy, "srd", "latency", 64, "p999_us")
        state(f"1 % loss, MTU {mtu}: p99.9 of the 64 B round trip", tail and 2 * tail, unit="us")
        state(f"1 % loss, MTU {mtu}: 1 MiB bandwidth / lossless",
              ratio(value(lossy, "srd", "bandwidth", 1 << 20), value(clean, "srd", "bandwidth", 1 << 20)))
    startups = [one["info"]["startup_ms"] for one in runs
                if one["provider"] == "srd" and "startup_ms" in one["info"]]
    state("start-up: fi_getinfo to enabled endpoint, after libfabric's own",
          statistics.median(startups) if startups else None, unit="ms")
    for own in (engine or {}).get("figures", []):
        state(f"engine: {own['name']}", own["measured"], unit=own["unit"])
    return result


def state_shm(net, value, state):
    """Between processes of one host, beside libfabric's own provider for that."""
    state("this host: 64 B ping-pong of srd:shm / shm",
          ratio(value(net, "srd:shm", "latency", 64), value(net, "shm", "latency", 64)))
    state("this host: 8 B message rate of srd:shm", value(net, "srd:shm", "rate", 8), unit="M/s")
    for size, text in ((4096, "4 KiB"), (1 << 20, "1 MiB")):
        state(f"this host: {text} bandwidth of srd:shm / shm",
              ratio(value(net, "srd:shm", "bandwidth", size), value(net, "shm", "bandwidth", size)))


def state_remote(net, value, state):
    """Writes beside messages, reads beside tcp's, both beside udp;ofi_rxd's."""
    mib = 1 << 20
    state(f"{net}: 8 B fi_write, one way / 64 B message, one way",
          ratio(value(net, "srd", "write_ping", 8), value(net, "srd", "latency", 64)))
    write, read = (value(net, "srd", f"{kind}_bandwidth", mib) for kind in ("write", "read"))
    state(f"{net}: 1 MiB bandwidth of fi_write / of messages",
          ratio(write, value(net, "srd", "bandwidth", mib)))
    state(f"{net}: 1 MiB bandwidth of fi_read / tcp", ratio(read, value(net, "tcp", "read_bandwidth", mib)))
    state(f"{net}: 8 B fi_read / tcp",
          ratio(value(net, "srd", "read_latency", 8), value(net, "tcp", "read_latency", 8)))
    for kind, own in (("write", write), ("read", read)):
        state(f"{net}: 1 MiB bandwidth of fi_{kind} / udp;ofi_rxd",
              ratio(own, value(net, "udp;ofi_rxd", f"{kind}_bandwidth", mib)))
    state(f"{net}: fetch-add / udp;ofi_rxd",
          ratio(value(net, "srd", "fetch_add_latency", 8), value(net, "udp;ofi_rxd", "fetch_add_latency", 8)))


def show_figures(rows):
    print("\n== figures")
    for row in rows:
        if row["measured"] is not None:
            print(f"    {row['name']:<72}{row['measured']:>10.4g} {row['unit']}".rstrip())
    missing = sum(row["measured"] is None for row in rows)
    if missing:
        print(f"    {missing} more figures need networks, tests or providers that were not part of this run")
