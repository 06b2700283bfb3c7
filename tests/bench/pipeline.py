"""Log file to ClickHouse, the whole path: CPU-seconds per million events, events per second, resident memory.

Usage: tests/bench/run pipeline [--lines N] [--rules DIR]

Writes N lines before the agent starts (sshd, nginx, auditd in turn, of this script's own making), then lets real processes
carry them: agent, collector, embedded store. Figures are the kernel's (/proc): CPU is user + system time of the process.
Compare CPU-seconds and ratios, not wall time: machines are noisy.
"""

import argparse
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = "web01"
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 900


def lines(count):
    """Log lines of three files, deterministic; timestamps are now."""
    random.seed(1)
    now = time.time()
    iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".000000+00:00"
    clf = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now))
    agents = ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "curl/8.14.1", "check/1.0"]
    for number in range(count):
        address = f"198.51.100.{random.randrange(254) + 1}"
        kind = number % 3
        if kind == 0:
            user = random.choice(["an", "binh", "chi", "dung"])
            yield "auth.log", f"{iso} {HOST} sshd[{1000 + number % 30000}]: Accepted publickey for {user} from {address} port {1024 + number % 60000} ssh2: ED25519 SHA256:{random.getrandbits(128):x}"
        elif kind == 1:
            yield "access.log", f'{address} - - [{clf}] "GET /van-ban/{number}?trang={number % 90} HTTP/1.1" 200 {random.randrange(90000)} "-" "{random.choice(agents)}"'
        else:
            yield "audit.log", f'type=USER_START msg=audit({now:.3f}:{number}): pid={number % 30000} uid=0 auid=1000 ses=3 msg=\'op=PAM:session_open acct="an" exe="/usr/sbin/sshd" hostname={address} addr={address} terminal=ssh res=success\''


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return float("nan")


def child_of(parent):
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[1] == str(parent):
                return int(stat.parent.name)
        except OSError:
            continue
    return None


def wait(what, condition, *processes):
    """Until a condition holds; not for what a process would have to do that has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = [process for process in processes if process.poll() is not None]
        if ended:
            sys.exit(f"waited in vain: {what}; {ended[0].args[0]} ended with {ended[0].returncode}: {pathlib.Path(ended[0].log).read_text()[-2000:]}")
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"waited in vain: {what}")


class Site:
    def __init__(self, folder, rules):
        self.folder = pathlib.Path(folder)
        self.ports = {name: free_port() for name in ("intake", "otlp", "metrics", "store")}
        self.vonggac("ca", "init", "--dir", f"{folder}/ca", "--host", "localhost")
        self.vonggac("ca", "issue", HOST, "--dir", f"{folder}/ca")
        (self.folder / "systems.toml").write_text("")
        listens = "\n".join(f'[{name}]\nlisten = "127.0.0.1:{port}"\n' for name, port in self.ports.items())
        (self.folder / "vonggac.toml").write_text(
            f'data_dir = "data"\nrules = ["{rules}"]\nlevels = "{ROOT}/rules/levels"\nhunts = []\nsystems = "systems.toml"\n'
            f'[tls]\nca = "ca/ca.crt"\ncert = "ca/collector.crt"\nkey = "ca/collector.key"\n{listens}'
        )
        (self.folder / "agent.toml").write_text(
            f'data_dir = "{folder}/agent"\n[collector]\naddress = "localhost:{self.ports["intake"]}"\n'
            f'[tls]\nca = "{folder}/ca/ca.crt"\ncert = "{folder}/ca/{HOST}.crt"\nkey = "{folder}/ca/{HOST}.key"\n'
            + "".join(
                f'[[source]]\npaths = ["{folder}/{name}"]\nformat = "{kind}"\nstart = "beginning"\n'
                for name, kind in (("auth.log", "syslog"), ("access.log", "web"), ("audit.log", "auditd"))
            )
        )

    def vonggac(self, *arguments):
        subprocess.run([ROOT / "target/release/vonggac", *arguments], check=True, stdout=subprocess.DEVNULL)

    def start(self, name, *arguments):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen([ROOT / "target/release" / name, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        process.log = log.name
        return process

    def ready(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/ready") as answer:
            return answer.status == 200

    def number(self, sql):
        password = (self.folder / "data/store/writer.password").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['store']}/?database=vonggac",
            data=sql.encode(),
            headers={"X-ClickHouse-User": "vonggac", "X-ClickHouse-Key": password},
        )
        with urllib.request.urlopen(request) as answer:
            return int(answer.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rules", default=f"{ROOT}/rules/sigma")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(folder, os.path.abspath(options.rules))
        files = {}
        for name, line in lines(options.lines):
            if name not in files:
                files[name] = open(f"{folder}/{name}", "w")
            files[name].write(line + "\n")
        total_bytes = sum(file.tell() for file in files.values())
        for file in files.values():
            file.close()
        collector = site.start("vonggac", "serve", "--config", f"{folder}/vonggac.toml")
        agent = None
        try:
            wait("the collector is ready", site.ready, collector)
            store = child_of(collector.pid)
            pids = {"collector": collector.pid, "store": store}
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            idle = {name: memory_mib(pid, "VmRSS") for name, pid in pids.items()}
            start = time.monotonic()
            agent = site.start("vonggac-agent", "--config", f"{folder}/agent.toml")
            pids["agent"] = agent.pid
            before["agent"] = 0.0
            wait("every line is stored", lambda: site.number("SELECT count() FROM events") >= options.lines, collector, agent)
            seconds = time.monotonic() - start
            stored = site.number("SELECT count() FROM events")
            millions = options.lines / 1e6
            print(f"{options.lines} lines, {total_bytes / 1e6:.0f} MB, {stored} stored, {stored - options.lines} too many")
            print(f"{'process':<10} {'CPU-s':>8} {'CPU-s/10^6':>11} {'CPU-s/GB':>9} {'idle MiB':>9} {'peak MiB':>9}")
            all_cpu = 0.0
            for name in ("agent", "collector", "store"):
                cpu = cpu_seconds(pids[name]) - before[name]
                all_cpu += cpu
                print(
                    f"{name:<10} {cpu:>8.2f} {cpu / millions:>11.2f} {cpu / (total_bytes / 1e9):>9.2f}"
                    f" {f'{idle[name]:.1f}' if name in idle else '-':>9} {memory_mib(pids[name], 'VmHWM'):>9.1f}"
                )
            print(f"pipeline: {options.lines / seconds:.0f} events/s, {all_cpu / millions:.2f} CPU-s per million events")
            if stored != options.lines:
                sys.exit("pipeline: the store does not hold each line once")
        finally:
            for process in (agent, collector):
                if process:
                    process.terminate()
                    process.wait()


if __name__ == "__main__":
    main()
