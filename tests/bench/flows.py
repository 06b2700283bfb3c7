"""Packets to flows: packets per CPU-second and resident memory beside softflowd and nfpcapd (nfdump).

Usage: tests/bench/run flows [--packets N] [--rounds N]

The capture is made of the public corpus' captures: each is laid again and again at a random moment of twenty minutes, every
time with other addresses, until there are enough packets; all of them in the order of time, so that a table of flows meets
them as on a busy link. Checksums are kept, as none of the tools looks at them here. The flood of SYNs, of which each is a
flow, is laid once in sixteen times. The tools run in turn, each as often; the best of its rounds counts. Figures are the
kernel's (wait4): user + system time of the process, all threads. Compare ratios: machines are noisy.

Goal: flows alone at least 1.5 times the packets per CPU-second of the better of softflowd and nfpcapd, told as a ratio whose
goal is 1. With the application layer, and with all flows kept in the table at once, figures are printed beside.
"""

import argparse
import multiprocessing
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPAN_US = 1_200_000_000
START_US = 1_790_000_000_000_000
GOAL = 1.0
# Of these each packet is a flow.
FLOODS = ("synflood", "backscatter")
FLOOD_EVERY = 16
WIRE_BYTES_MAX = 262_144


def ethernet_packets(path):
    """(microseconds, length on the wire, frame) of a pcap file of Ethernet; nothing of any other file."""
    data = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(data[:4])
    if order is None or struct.unpack_from(order + "I", data, 20)[0] != 1:
        return []
    packets, at = [], 24
    while at + 16 <= len(data):
        seconds, micros, kept, wire = struct.unpack_from(order + "IIII", data, at)
        at += 16
        if kept > WIRE_BYTES_MAX or at + kept > len(data):
            break
        packets.append((seconds * 1_000_000 + micros, min(max(wire, kept), WIRE_BYTES_MAX), data[at : at + kept]))
        at += kept
    return packets


def varied(frame):
    """Where the second octets of IPv4 addresses, or the fifth of IPv6 ones, stand in a frame."""
    at = 14
    kind = frame[12:14]
    while kind in (b"\x81\x00", b"\x88\xa8") and len(frame) >= at + 4:
        kind, at = frame[at + 2 : at + 4], at + 4
    if kind == b"\x08\x00" and len(frame) >= at + 20:
        return at + 13, at + 17
    if kind == b"\x86\xdd" and len(frame) >= at + 40:
        return at + 12, at + 28
    return None


def tile(corpus, path, wanted):
    """Writes a capture of so many packets; gives their number."""
    chance = random.Random(7)
    sources = []
    for file in sorted(corpus.rglob("*")):
        if file.suffix in (".pcap", ".trace"):
            packets = ethernet_packets(file)
            if packets:
                first = packets[0][0]
                flood = any(word in file.name for word in FLOODS)
                sources.append((flood, [(at - first, wire, frame, varied(frame)) for at, wire, frame in packets]))
    placed, total, turn = [], 0, 0
    while total < wanted:
        turn += 1
        for number, (flood, packets) in enumerate(sources):
            if not flood or turn % FLOOD_EVERY == 1:
                placed.append((number, turn, chance.randrange(SPAN_US)))
                total += len(packets)
    order, where = [], []
    for number, turn, start in placed:
        for index, packet in enumerate(sources[number][1]):
            order.append(((start + packet[0] % SPAN_US) << 24) + len(where))
            where.append((number, turn, index))
    order.sort()
    with path.open("wb", buffering=1 << 22) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, WIRE_BYTES_MAX, 1))
        for key in order:
            number, turn, index = where[key & 0xFFFFFF]
            at = START_US + (key >> 24)
            _, wire, frame, spots = sources[number][1][index]
            if spots:
                frame = bytearray(frame)
                for spot in spots:
                    frame[spot] = (frame[spot] + turn) & 255
            out.write(struct.pack("<IIII", at // 1_000_000, at % 1_000_000, len(frame), wire))
            out.write(frame)
    return total


def measure(command, **options):
    """CPU-seconds and resident MiB of a command, and what it wrote to standard error."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, **options)
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"flows: {command[0]} failed:\n{text[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def tools(capture, folder, port):
    """What is measured: name and command."""
    meter = [ROOT / "target/release/examples/meter", capture, "--count"]
    return {
        "vonggac, flows": [*meter, "--flows-only"],
        "vonggac, application layer": meter,
        "vonggac, all flows kept": [*meter, "--flows-only", "--keep-all"],
        "softflowd": ["softflowd", "-r", capture, "-m", "2000000", "-n", f"127.0.0.1:{port}", "-v", "9"],
        "nfpcapd": ["nfpcapd", "-r", capture, "-l", folder],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=6_900_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    corpus = pathlib.Path(os.environ.get("VONGGAC_CORPUS", ROOT.parent / "shared/corpus")) / "pcap"
    if not corpus.is_dir():
        sys.exit(f"flows: no captures at {corpus}; VONGGAC_CORPUS names the public corpus")
    subprocess.run([ROOT / "deploy/install-packages", "softflowd", "nfdump"], check=True)
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "event", "--example", "meter"], check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        # Takes what softflowd exports, and never reads it.
        sink.bind(("127.0.0.1", 0))
        capture = pathlib.Path(folder) / "capture.pcap"
        # In a process of its own: what this one takes at most would count for each tool, which begins as its copy.
        with multiprocessing.Pool(1) as pool:
            packets = pool.apply(tile, (corpus, capture, options.packets))
        (pathlib.Path(folder) / "nf").mkdir()
        commands = tools(capture, pathlib.Path(folder) / "nf", sink.getsockname()[1])
        best = dict.fromkeys(commands, (float("inf"), 0))
        for _ in range(options.rounds):
            for name, command in commands.items():
                best[name] = min(best[name], measure(command)[:2])
    print(f"{packets} packets\n{'':28} {'CPU-s':>7} {'Mpps/CPU-s':>11} {'MiB':>6}")
    for name, (seconds, memory) in best.items():
        print(f"{name:28} {seconds:7.2f} {packets / seconds / 1e6:11.2f} {memory:6.0f}")
    peer = min(best["softflowd"][0], best["nfpcapd"][0])
    ratio = peer / best["vonggac, flows"][0] / 1.5
    print(f"flows: lowest ratio {ratio:.2f} (goal {GOAL:g})")
    sys.exit(ratio < GOAL)


if __name__ == "__main__":
    main()
