"""Live capture: packets lost, CPU-seconds per million packets and memory of the agent, beside softflowd on the same wire.

Usage: tests/bench/run capture [--packets N] [--rounds N]

A pair of veth; from its far end, in a network namespace, tcpreplay sends a capture that is made of the public corpus' (see
flows.py). The agent meters with the application layer on and writes flows to its spool; softflowd meters flows alone and exports
them to a socket. Then the agent with a collector and its store, at what a small site's line and a server's card carry: 10 Mbit/s and
1 Gbit/s, or as much as tcpreplay reaches. Figures are the kernel's (/proc); losses are those that each tool's kernel counters tell,
and what is missing between the packets sent and those metered.

Goal: at 200,000 packets a second the share of packets that the agent meters is 1, in each round.
"""

import argparse
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from flows import tile
from pipeline import HOST, ROOT, Site, cpu_seconds, free_port, memory_mib, wait

RATE = 200_000
GOAL = 1.0
NAMESPACE = f"vgb{os.getpid()}"
NEAR = f"vgb{os.getpid() % 100_000}"
FAR = "far"


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class Wire:
    def __enter__(self):
        run("ip", "netns", "add", NAMESPACE)
        run("ip", "link", "add", NEAR, "mtu", 9000, "type", "veth", "peer", "name", FAR, "mtu", 9000, "netns", NAMESPACE)
        run("sysctl", "-q", "-w", f"net.ipv6.conf.{NEAR}.disable_ipv6=1")
        run("ip", "netns", "exec", NAMESPACE, "sysctl", "-q", "-w", f"net.ipv6.conf.{FAR}.disable_ipv6=1")
        run("ip", "link", "set", NEAR, "up")
        run("ip", "-n", NAMESPACE, "link", "set", FAR, "up")
        return self

    def __exit__(self, *_):
        run("ip", "netns", "delete", NAMESPACE)

    def send(self, capture, *rate):
        """Packets that were sent, and packets a second."""
        text = run("ip", "netns", "exec", NAMESPACE, "tcpreplay", "-K", "-i", FAR, *rate, capture)
        sent = int(re.search(r"Successful packets:\s+(\d+)", text)[1])
        return sent, float(re.search(r"([\d.]+) pps", text)[1]), float(re.search(r"([\d.]+) Mbps", text)[1])


def received():
    return int(pathlib.Path(f"/sys/class/net/{NEAR}/statistics/rx_packets").read_text())


class Agent:
    def __init__(self, folder, port, collector):
        self.folder, self.metrics = pathlib.Path(folder), free_port()
        (self.folder / "capturing.toml").write_text(
            f'data_dir = "{folder}/capturing-{self.metrics}"\n[collector]\naddress = "localhost:{port}"\n'
            f'[tls]\nca = "{folder}/ca/ca.crt"\ncert = "{folder}/ca/{HOST}.crt"\nkey = "{folder}/ca/{HOST}.key"\n'
            f'[metrics]\nlisten = "127.0.0.1:{self.metrics}"\n[capture]\ninterfaces = ["{NEAR}"]\n'
        )
        self.process = collector.start("vonggac-agent", "--config", f"{folder}/capturing.toml")
        wait("the agent captures", lambda: self.metric("capture_up") == 1)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"vonggac_agent_{name}{{"))

    def measure(self, send):
        """Sends, and waits until all that came is metered or lost."""
        before, packets = cpu_seconds(self.process.pid), received()
        sent, pps, mbps = send()
        lost = "capture_dropped_packets_total"
        wait("packets are metered", lambda: self.metric("capture_packets_total") + self.metric(lost) >= received() - packets)
        time.sleep(2)  # what a site pays for a second of flows, it pays a little later
        metered = self.metric("capture_packets_total")
        return {
            "sent": sent, "pps": pps, "mbps": mbps, "metered": metered, "lost": self.metric(lost),
            "cpu": cpu_seconds(self.process.pid) - before, "rss": memory_mib(self.process.pid, "VmHWM"),
        }

    def stop(self):
        self.process.terminate()
        self.process.wait()


def softflowd(send, port, folder):
    control = f"{folder}/softflowd.ctl"
    process = subprocess.Popen(
        ["softflowd", "-d", "-i", NEAR, "-n", f"127.0.0.1:{port}", "-m", "2000000", "-c", control, "-p", f"{folder}/softflowd.pid"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    say = lambda: run("softflowctl", "-c", control, "statistics")
    wait("softflowd answers", lambda: subprocess.run(["softflowctl", "-c", control, "statistics"], capture_output=True).returncode == 0)
    before, packets = cpu_seconds(process.pid), received()
    sent, pps, mbps = send()
    seen = lambda: sum(int(number) for number in re.findall(r"(?:Packets (?:received by libpcap|dropped by libpcap)): (\d+)", say()))
    wait("softflowd has seen them", lambda: seen() >= received() - packets)
    time.sleep(2)
    text = say()
    metered = int(re.search(r"Packets received by libpcap: (\d+)", text)[1])
    lost = int(re.search(r"Packets dropped by libpcap: (\d+)", text)[1])
    result = {
        "sent": sent, "pps": pps, "mbps": mbps, "metered": metered - lost, "lost": lost,
        "cpu": cpu_seconds(process.pid) - before, "rss": memory_mib(process.pid, "VmHWM"),
    }
    process.terminate()
    process.wait()
    return result


def row(name, result):
    per_million = result["cpu"] / result["sent"] * 1e6
    print(
        f"{name:36} {result['sent']:>9,} sent at {result['pps']:>9,.0f}/s {result['mbps']:>6,.0f} Mbit/s  metered {result['metered']:>9,.0f}"
        f"  lost {result['lost']:>8,.0f}  {per_million:5.2f} CPU-s per 10^6  {result['rss']:6.1f} MiB",
        flush=True,
    )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    corpus = pathlib.Path(os.environ.get("VONGGAC_CORPUS", ROOT.parent / "shared/corpus")) / "pcap"
    if not corpus.is_dir():
        sys.exit(f"capture: no captures at {corpus}; VONGGAC_CORPUS names the public corpus")
    subprocess.run([ROOT / "deploy/install-packages", "softflowd", "tcpreplay", "iproute2"], check=True)
    with tempfile.TemporaryDirectory() as folder, Wire() as wire, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        capture = pathlib.Path(folder) / "capture.pcap"
        tile(corpus, capture, options.packets)
        site = Site(folder, f"{ROOT}/rules/sigma")
        fast = lambda: wire.send(capture, f"--pps={RATE}")
        shares = []
        for _ in range(options.rounds):
            agent = Agent(folder, free_port(), site)
            ours = row("vonggac-agent, no collector", agent.measure(fast))
            agent.stop()
            shares.append(ours["metered"] / ours["sent"])
            row("softflowd", softflowd(fast, sink.getsockname()[1], folder))
        collector = site.start("vonggac", "serve", "--config", f"{folder}/vonggac.toml")
        wait("the collector is ready", site.ready)
        for name, mbps in (("10 Mbit/s", 10), ("1 Gbit/s", 1000)):
            agent = Agent(folder, site.ports["intake"], site)
            row(f"vonggac-agent and a collector, {name}", agent.measure(lambda: wire.send(capture, f"--mbps={mbps}", f"--duration=20")))
            agent.stop()
        collector.terminate()
        collector.wait()
    lowest = min(shares)
    print(f"capture: lowest ratio {lowest:.4f} (goal {GOAL})")
    sys.exit(0 if lowest >= GOAL else 1)


if __name__ == "__main__":
    main()
