#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""What documents say is so:

- every command of the README runs, or a test is named here that runs it;
- every subcommand and option of srd that a document names is one of the program's, and srd(1) names all of them;
- what is generated is up to date (tools/documents);
- every link leads to a file, and to a heading in it;
- every FI_SRD_* variable and every counter that is named exists;
- every line that troubleshooting.md quotes stands in the sources;
- every case of a test that bounds.md names is there;
- every table of figures says which program measured it, and the README's figures stand there;
- no document judges figures by what was hoped for;
- the README has at most 1200 words.

usage: documents_check.py SOURCE_DIR PROVIDER_DIR [PROGRAM_DIR]
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1]).resolve()
provider_dir = str(pathlib.Path(sys.argv[2]).resolve())
program_dir = pathlib.Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
problems = []
told = []  # what could not be tried here, and why

documents = sorted([*source.glob("*.md"), *source.glob("docs/**/*.md"), *source.glob("docs/*.[17]"),
                    *source.glob("bench/*.md"), *source.glob("tests/**/*.md")])
texts = {path.relative_to(source).as_posix(): path.read_text(encoding="utf-8") for path in documents}
# Those that a user reads; the others name what is in the code.
for_users = [name for name in texts if name == "README.md" or (
    name.startswith("docs/") and not re.search(r"architecture|protocol|glossary|model/|wireshark", name))]


def problem(text):
    problems.append(text)


# -- Commands. Who adds one to the README says here how it is tried.

environment = {name: value for name, value in os.environ.items() if not name.startswith(("FI_", "OMPI_"))}
environment.update(FI_PROVIDER_PATH=provider_dir, FI_SRD_QUIET="1", OMPI_ALLOW_RUN_AS_ROOT="1",
                   OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_mpi_yield_when_idle="1", PMIX_MCA_gds="hash", LC_ALL="C")
if program_dir:
    environment["PATH"] = f"{program_dir}:{environment['PATH']}"


def run(command, statuses=(0,), expected="", limit=60):
    """Runs it; its exit status must be one of `statuses`, its output contain `expected`."""
    try:
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=limit, cwd="/tmp")
    except subprocess.TimeoutExpired:
        problem(f"README.md: no end after {limit} s: {command}")
        return
    output = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
    if done.returncode not in statuses or expected not in output:
        problem(f"README.md: exit status {done.returncode}, or without \"{expected}\": {command}\n{output[-2000:]}")


def tested_by(test):
    """The command needs more than this test has (root, another host); that one runs it."""
    path = source / test.split()[0]
    if not path.exists():
        problem(f"{test} is to run a command of the README, and is not there")


def needs(tool, action):
    if shutil.which(tool, path=environment["PATH"]):
        action()
    else:
        told.append(f"{tool} is not there: its commands were not run")


def mpi():
    program = program_dir and program_dir / "mpi_ring"
    if not program or not program.exists():
        told.append("mpi_ring is not built: mpirun was not run")
        return
    key = next(c for c in commands if c.startswith("(umask"))
    with tempfile.TemporaryDirectory() as home:
        environment["HOME"] = home
        for command in (c for c in commands if c.startswith("mpirun")):
            sealed = "JOB_KEY" in command
            here = "--bind-to none -x FI_SRD_STATS=-" + (" -x FI_SRD_SHM=0" if sealed else "")
            command = command.replace("--host node1,node2", here).replace("./program", f"{program} --max-bytes 1000")
            # Sealed or not, by the counter of packets that came so.
            proof = r""" 2>&1 | grep -E '"provider": ?"srd".*"rx_sealed": ?%s,'""" % ("[1-9][0-9]*" if sealed else "0")
            run(f"{key}; set -o pipefail; {command}{proof}" if sealed else f"set -o pipefail; {command}{proof}")
        environment["HOME"] = os.environ.get("HOME", "/")


def between_hosts():
    """The pair of doctors, on this host, to which a script plays ssh."""
    with tempfile.TemporaryDirectory() as folder:
        ssh = pathlib.Path(folder) / "ssh"
        ssh.write_text('#!/bin/sh\nfor there; do :; done\nexec sh -c "$there"\n', encoding="utf-8")
        ssh.chmod(0o755)
        run(f"PATH={folder}:$PATH srd doctor --ssh localhost", (0, 1, 2), "has started the doctor there")


def firewall():
    rule = next(c for c in commands if c.startswith("nft"))
    done = subprocess.run(["unshare", "-rn", "bash", "-c", "nft add table inet filter && nft add chain inet filter input "
                           "'{ type filter hook input priority 0; policy drop; }' && " + rule],
                          env=environment, capture_output=True, text=True)
    if "unshare" in done.stderr or "Operation not permitted" in done.stderr:
        told.append("no namespace of its own is to be had: nft was not run")
    elif done.returncode != 0:
        problem(f"README.md: {rule}: {done.stderr}")


TRIED = {
    "tools/quickstart": lambda: run(f"{source}/tools/quickstart --help", (2,), "--no-install"),
    "tools/package": lambda: tested_by("tools/check_package"),
    "apt install ./build-package/packages/srd_*.deb": lambda: tested_by("tools/check_package"),
    "(umask 077; openssl rand": lambda: None,  # with the mpirun that follows it
    "mpirun": lambda: (needs("mpirun", mpi), tested_by("tests/net/mpi_hosts rack")),
    "export FI_PROVIDER=srd OMPI_MCA_pml=cm OMPI_MCA_mtl=ofi": lambda: tested_by("tests/net/slurm_jobs"),
    "srun": lambda: tested_by("tests/net/slurm_jobs"),
    "export FI_SRD_PORT_RANGE=7000-7199": lambda: tested_by("tests/net/ports_hosts"),
    "nft": lambda: needs("nft", firewall),
    "srd doctor --ssh node2": lambda: (needs("srd", between_hosts), tested_by("tests/net/doctor_hosts ssh")),
    "srd doctor": lambda: needs("srd", lambda: run("srd doctor", (0, 1), "interface")),
    "srd stat": lambda: needs("srd", lambda: run("srd stat", (0, 1, 2))),
    "fi_info -p srd": lambda: run("fi_info -p srd", expected="provider: srd"),
}
readme = texts["README.md"]
commands = [line for block in re.findall(r"```sh\n(.*?)```", readme, re.S) for line in block.splitlines()]
commands += ["fi_info -p srd"] if "`fi_info -p srd`" in readme else []
tried = set()
for command in commands:
    known = next((key for key in sorted(TRIED, key=len, reverse=True) if command.startswith(key)), None)
    if known is None:
        problem(f"README.md: nobody tries this command: {command}")
    elif known not in tried:
        tried.add(known)
        TRIED[known]()
for name, action in TRIED.items():
    if name not in tried:
        problem(f"{name} is tried, but the README does not name it")

# -- The command srd: what documents name of it


def check_tool():
    def help_of(*words):
        return subprocess.run(["srd", *words, "--help"], env=environment, capture_output=True, text=True).stdout

    subcommands = re.findall(r"^  (\w+)  ", help_of().partition("Subcommands:")[2], re.M)
    options = {name: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_of(name))) - {"-h"} for name in subcommands}
    manual = texts["docs/srd.1"].replace("\\-", "-")
    for name, text in {**texts, "docs/srd.1": manual}.items():
        if name == "CHANGELOG.md":
            continue
        spans = re.findall(r"`(srd [^`]+)`", text) + re.findall(r"^\s*(?:\S+=\S+ )*(srd [a-z].*)", text, re.M)
        for span in spans:
            for word, rest in re.findall(r"\bsrd (\w+)([^|;&>#)]*)", span):
                if word not in options:
                    if f"`{span}`" in text and re.search(r" --?[a-z]", rest):
                        problem(f"{name}: there is no srd {word}: {span}")
                    continue
                for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
                    if option not in options[word]:
                        problem(f"{name}: srd {word} has no {option}: {span}")
    for name in subcommands:
        if f".SS srd {name}" not in manual:
            problem(f"docs/srd.1 has nothing on srd {name}")
        for option in options[name] - {"--help"}:
            if len(option) > 2 and option not in manual:
                problem(f"docs/srd.1 does not name {option} of srd {name}")


needs("srd", check_tool)

# -- What is generated

done = subprocess.run([sys.executable, source / "tools/documents", "--check", provider_dir], capture_output=True, text=True)
if done.returncode != 0:
    problem((done.stdout + done.stderr).strip())

# -- Links


def anchors(text):
    for heading in re.findall(r"^#+ (.*)", text, re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


for name, text in texts.items():
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (source / name).parent / file if file else source / name
        if not target.exists():
            problem(f"{name}: there is no {link}")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            problem(f"{name}: there is no heading for {link}")

# -- Variables and counters

variables = set(re.findall(r"`(FI_SRD_[A-Z_]+)` \|", texts["docs/configuration.md"]))
counters = set(re.findall(r"X\((\w+), ", (source / "include/srd/counters.hpp").read_text()))
for name, text in texts.items():
    for variable in set(re.findall(r"FI_SRD_[A-Z_]*[A-Z]", text)) - variables:
        if name != "CHANGELOG.md":
            problem(f"{name} names {variable}, which does not exist")
for name in for_users:
    named = set(re.findall(r"`((?:tx|rx|io|retransmits|mtu|path|peer|liveness)_[a-z_]+\*?)`", texts[name]))
    for counter in named - counters - {"tx_attr", "rx_attr"}:
        if not (counter.endswith("*") and any(each.startswith(counter[:-1]) for each in counters)):
            problem(f"{name} names the counter {counter}, which does not exist")

# -- Quoted lines

code = "".join(path.read_text(encoding="utf-8") for folder in ("src", "tools/srd")
               for path in (source / folder).rglob("*.cpp"))
code = re.sub(r'"\s*\n?\s*"', "", code)
code = re.sub(r'%"\s*PRIu64\s*"', "%lu", code)
for cell in re.findall(r'^\| "(.*?)" \|', texts["docs/troubleshooting.md"], re.M):
    for part in (part.strip() for part in cell.split("…")):
        if part and part not in code:
            problem(f"docs/troubleshooting.md quotes what srd never prints: {part}")

# -- Bounds

cases = re.sub(r'"\s*\n\s*"', "", "\n".join(path.read_text(encoding="utf-8")
                                             for path in (source / "tests").rglob("*_test.cpp")))
for name in re.findall(r'"([^"|]+)"', texts["docs/bounds.md"]):
    if f'"{name}"' not in cases:
        problem(f"docs/bounds.md: no test has a case named: {name}")

# -- Figures

measured = texts["docs/benchmarks.md"]
for section in re.split(r"^## ", measured, flags=re.M)[1:]:
    paragraphs = section.split("\n\n")
    for before, table in zip(paragraphs, paragraphs[1:]):
        if table.startswith("|") and not re.search(r"^Measured with `[^`]+`", before) and "Measured with `" not in before:
            problem(f"docs/benchmarks.md: a table without its source: {table.splitlines()[0]} in {section.splitlines()[0]}")
    if not re.search(r"Measured with `", section):
        problem(f"docs/benchmarks.md: no source of the figures in: {section.splitlines()[0]}")
for program in re.findall(r"Measured with `((?:bench|tests)/\w+)", measured):
    if not (source / program).exists() and not (source / (program + ".cpp")).exists():
        problem(f"docs/benchmarks.md: {program} is not there")
figures = readme.partition("## Figures")[2].partition("\n## ")[0]
for line in figures.splitlines():
    if line.startswith("| ") and not line.startswith(("| |", "| ---")) and line not in measured:
        problem(f"README.md: a row that docs/benchmarks.md does not have: {line}")
prose = " ".join(line for line in figures.splitlines() if not line.startswith("|"))
for number in re.findall(r"\d+\.\d+|\d{3,}", prose):
    if number not in measured and number not in ("0.4", "0.7"):  # 1.18 of 1.80 and 1.57 of 4.27, rounded
        problem(f"README.md: {number} has no source in docs/benchmarks.md")

for name, text in texts.items():
    for judged in re.findall(r"\b(?:PASS|MISS|was aimed at|is aimed at|we hoped)\b", text):
        problem(f"{name} judges: {judged}")

words = len(readme.split())
if words > 1200:
    problem(f"README.md has {words} words")

for line in told:
    print(f"SKIPPED: {line}")
print("\n".join(problems) or f"{len(texts)} documents, {len(commands)} commands, {len(variables)} variables, "
      f"{len(counters)} counters: all as they say")
sys.exit(1 if problems else 0)
