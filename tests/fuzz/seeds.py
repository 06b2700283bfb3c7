#!/usr/bin/env python3
"""Seeds of the targets of networks, made of the public corpus: tests/fuzz/seeds.py [FOLDER, default tests/fuzz/corpus]

Real packets and datagrams, each behind the head of two bytes that tests/fuzz/network.rs cuts by. VONGGAC_CORPUS names the corpus; nothing
of it enters the repository. Captures in pcapng and links other than Ethernet are passed over: the fuzzer finds those by itself.
"""
import os
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("VONGGAC_CORPUS", ROOT / "../shared/corpus"))
SERVER, PIECE_MAX, SEED_MAX, SEEDS_MAX = 0x8000, 0x3FFF, 6_000, 300


def frames(path):
    """The Ethernet frames of a capture."""
    data = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(data[:4])
    if order is None or struct.unpack_from(order + "I", data, 20)[0] != 1:
        return
    at = 24
    while at + 16 <= len(data):
        captured = struct.unpack_from(order + "I", data, at + 8)[0]
        yield data[at + 16 : at + 16 + captured]
        at += 16 + captured


def payload(frame):
    """Protocol, ports and payload of IPv4 over Ethernet; nothing of anything else."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return None
    protocol, begin = frame[23], 14 + (frame[14] & 15) * 4
    end = 14 + int.from_bytes(frame[16:18])
    if protocol not in (6, 17) or len(frame) < begin + 20:
        return None
    source, target = struct.unpack_from(">HH", frame, begin)
    head = 8 if protocol == 17 else (frame[begin + 12] >> 4) * 4
    return protocol, source, target, frame[begin + head : end]


def piece(flags, data):
    data = data[:PIECE_MAX]
    return struct.pack(">H", flags | len(data)) + data


def main():
    seeds = {name: {} for name in ("frames", "dns", "tls", "http", "netflow", "sflow")}

    def add(target, key, data):
        known = seeds[target]
        if key in known or len(known) < SEEDS_MAX:
            before = known.get(key, b"\0" if target in ("frames", "dns") else b"")
            if len(before) + len(data) < SEED_MAX:
                known[key] = before + data

    for path in sorted((CORPUS / "pcap").rglob("*.pcap")):
        for frame in frames(path):
            add("frames", path, piece(0, frame))
            found = payload(frame)
            if found is None or not found[3]:
                continue
            _, source, target, said = found
            for name, port in (("dns", 53), ("tls", 443), ("http", 80)):
                if port in (source, target):
                    add(name, (path, *sorted((source, target))), piece(SERVER if source == port else 0, said))
    exports = CORPUS / "flow-export"
    datagrams = sorted((exports / "logstash").rglob("*.dat"), key=lambda path: ("tpl" not in path.stem, path))
    for path in datagrams:
        device = re.split("_tpl|_opttpl|_data", path.stem)[0]
        add("netflow", device, piece(0, path.read_bytes()))
    for path in sorted((exports / "sflow").rglob("*.pcap")):
        for frame in frames(path):
            found = payload(frame)
            if found and found[3][:4] == b"\0\0\0\5":
                add("sflow", path, piece(0, found[3][4:]))

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/fuzz/corpus"
    for target, known in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(known.values()):
            (folder / target / f"seed-{number}").write_bytes(data)
        print(f"{target}: {len(known)} seeds")


main()
