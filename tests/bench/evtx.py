"""vonggac scan over Windows event logs with every SigmaHQ rule: CPU-seconds and resident memory beside evtx_dump and rsigma.

Usage: tests/bench/run evtx [--repeat N] [--rounds N]

The evidence is made of all EVTX files of the public corpus: their chunks, which are self-contained, N times in one file, so
that each tool reads the same events in one process. evtx_dump only parses them, to JSON lines; vonggac and rsigma load the
rules, too, and match them. rsigma matches the events as they are, nested, in which most of the rules' fields do not exist:
it does less than vonggac. The tools run in turn, each as often; the best of its rounds counts. Figures are the kernel's
(wait4): user + system time of the process, all threads. Compare ratios: machines are noisy.

Each tool also reads the corpus once. Rules are loaded and compiled the same for any evidence, so that what the first pass took is
subtracted: `net` is what all others took, net of loading. The whole of a run is told beside it, but its ratio says how often the
corpus was read and no more: over the corpus once, nothing that reads the rules can stay within twice evtx_dump. `cat` over the
files of the rules, measured in the same run, shows it: it takes longer than that.

Goals, net of loading: at most twice the CPU-seconds of evtx_dump, at most a fifth of rsigma's. Both are told as a ratio whose goal
is 1: 2 x evtx_dump / vonggac, and rsigma / vonggac / 5.
"""

import argparse
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / ".vonggac/peers"
HEADER_BYTES, CHUNK_BYTES = 4096, 65536
GOAL = 1.0


def install(name, version, *features):
    """A peer at a fixed version, below the hidden folder of the project; built once."""
    if not (PEERS / "bin" / {"evtx": "evtx_dump"}.get(name, name)).exists():
        print(f"evtx: builds {name} {version}, once", file=sys.stderr)
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--root", PEERS, "--version", version, *features, name], check=True)


def evidence(corpus, path, repeat):
    """Writes all chunks of the corpus into one file, so many times; says how many files there were."""
    chunks, header, files = [], None, 0
    for file in sorted(corpus.rglob("*.evtx")):
        content = file.read_bytes()
        header = header or bytearray(content[:HEADER_BYTES])
        files += 1
        for start in range(HEADER_BYTES, len(content), CHUNK_BYTES):
            chunk = content[start : start + CHUNK_BYTES]
            if chunk.startswith(b"ElfChnk\0") and len(chunk) == CHUNK_BYTES:
                chunks.append(chunk)
    count = len(chunks) * repeat
    struct.pack_into("<QQ", header, 8, 0, count - 1)
    struct.pack_into("<H", header, 42, min(count, 0xFFFF))
    struct.pack_into("<II", header, 120, 0, zlib.crc32(bytes(header[:120])))
    with open(path, "wb") as out:
        out.write(header)
        for _ in range(repeat):
            out.writelines(chunks)
    return files


def measured(command):
    """CPU-seconds and peak resident MiB."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"evtx: {command[0]} ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def lines(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.count(b"\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    corpus = pathlib.Path(os.environ.get("VONGGAC_CORPUS", ROOT / "../shared/corpus"))
    rules = corpus / "sigmahq/rules"
    if not rules.is_dir():
        print(f"SKIPPED: {corpus} is not there (VONGGAC_CORPUS names the public corpus)")
        return
    install("evtx", "0.15.1")
    install("rsigma", "0.23.0", "--features", "evtx")
    vonggac, dump, rsigma = ROOT / "target/release/vonggac", PEERS / "bin/evtx_dump", PEERS / "bin/rsigma"
    with tempfile.TemporaryDirectory() as folder:
        log, small = f"{folder}/evidence.evtx", f"{folder}/once.evtx"
        files = evidence(corpus, log, options.repeat + 1)
        evidence(corpus, small, 1)
        events = lines([dump, "-t", "1", "-o", "jsonl", small]) * options.repeat
        commands = {
            "evtx_dump": lambda log: [dump, "-t", "1", "-o", "jsonl", log],
            "vonggac": lambda log: [vonggac, "scan", log, "--rules", rules, "--format", "json"],
            "rsigma": lambda log: [rsigma, "engine", "eval", "--quiet", "--rules", rules, "--event", f"@{log}"],
        }
        runs = {name: [] for name in commands}
        starts = {name: [] for name in commands}
        cats = []
        for _ in range(options.rounds):
            for name, command in commands.items():
                runs[name].append(measured(command(log)))
                starts[name].append(measured(command(small)))
            cats.append(measured(["cat", *rules.rglob("*.yml")]))
        megabytes = os.path.getsize(log) / 1e6

    whole = {name: min(cpu for cpu, _ in results) for name, results in runs.items()}
    start = {name: min(cpu for cpu, _ in results) for name, results in starts.items()}
    net = {name: whole[name] - start[name] for name in commands}
    print(f"{files} files, {options.repeat} times and once before: {megabytes:.0f} MB, {events} events")
    print(f"{'tool':<10} {'does':<15} {'1st pass':>8} {'CPU-s net':>10} {'µs/event':>9} {'MiB':>5} {'vonggac is':>11} {'with 1st':>11}")
    does = {"evtx_dump": "parses", "vonggac": "parses, matches", "rsigma": "parses, matches"}
    for name, cpu in net.items():
        mib = max(mib for _, mib in runs[name])
        print(
            f"{name:<10} {does[name]:<15} {start[name]:>8.3f} {cpu:>10.3f} {cpu / events * 1e6:>9.2f} {mib:>5.0f}"
            f" {cpu / net['vonggac']:>9.2f} x {whole[name] / whole['vonggac']:>9.2f} x"
        )

    def lowest(cpu):
        return min(2 * cpu["evtx_dump"] / cpu["vonggac"], cpu["rsigma"] / cpu["vonggac"] / 5)

    ratio = lowest(net)
    print(f"CPU-s is net of loading; with the first pass, in which rules are loaded, the lowest ratio is {lowest(whole):.2f}")
    print(f"cat over the files of the rules: {min(cpu for cpu, _ in cats):.3f} CPU-s; twice evtx_dump's first pass: {2 * start['evtx_dump']:.3f}")
    print(f"evtx: lowest ratio {ratio:.2f} (goal {GOAL:.2f})")
    sys.exit(ratio < GOAL)


if __name__ == "__main__":
    main()
