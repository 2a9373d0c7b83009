"""Requests through one worker of the router, beside haproxy with one thread; and what an idle client costs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks.idle_memory import resident
from tests.e2e.cluster import PYTHON_ENVIRONMENT, Cluster

LOOPBACK = "127.0.0.1"
ROUNDS = 5
SECONDS = 3
CONNECTIONS = 50
# How many requests per second of haproxy's are wanted.
WANTED = {"empty": 0.35, "1 kB": 0.35, "100 kB": 0.55}
WANTED_P99 = 4.0
IDLE = 5000
IDLE_KB = 20
PROGRAMS = ("nginx", "haproxy", "wrk")

# The app: nginx in the directory that it is checked out in, on the port that it is given.
START = """cat > run.conf <<END
daemon off;
user $(id -un) $(id -gn);
pid run.pid;
error_log run.log;
worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:$PORT;
    location = /empty { return 200; }
    location = /1kB { return 200 $(head -c 1024 /dev/zero | tr '\\0' x); }
    location = /100kB { alias $PWD/large; }
  }
}
END
head -c 102400 /dev/zero | tr '\\0' x > large
chmod 644 large
exec NGINX -e run.log -p $PWD -c $PWD/run.conf
"""

HAPROXY = """global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:{port}
  default_backend app
backend app
  http-reuse always
  server nginx 127.0.0.1:{backend}
"""


@frozen
class Sample:
    """One run of wrk: milliseconds, and microseconds of the server's CPU per request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(*command: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which(command[0]) or command[0]
    process = subprocess.Popen([program, *command[1:]], env=PYTHON_ENVIRONMENT, stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def await_port(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((LOOPBACK, port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def path_of(body: str) -> str:
    return "/" + body.replace(" ", "")


def wrk(port: int, body: str, pid: int) -> Sample:
    before = cpu_seconds(pid)
    url = f"http://{LOOPBACK}:{port}{path_of(body)}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    used = cpu_seconds(pid) - before
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    count = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert count is not None
    assert rate is not None
    return Sample(float(rate[1]), percentile(said, 50), percentile(said, 99), used / int(count[1]) * 1e6)


def percentile(said: str, number: int) -> float:
    found = re.search(rf"{number}%\s+([\d.]+)(us|ms|s)", said)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def middle(samples: list[Sample]) -> Sample:
    return Sample(*(median(getattr(sample, name) for sample in samples) for name in ("rate", "p50", "p99", "cpu")))


def start_app(cluster: Cluster) -> int:
    """Its port."""
    cluster.start_core()
    cluster.start_drone("d1", "--", "sh", "start.sh")
    nginx = shutil.which("nginx") or "nginx"
    cluster.repository("webapp", {"start.sh": START.replace("NGINX", nginx)}).push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    ((row,),) = ([*roles["http"]] for roles in cluster.ports().values())
    port = int(row["port"])
    await_port(port)
    return port


def start_haproxy(stack: ExitStack, directory: Path, backend: int) -> tuple[int, int]:
    """Its port and its process."""
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, backend=backend))
    process = stack.enter_context(running("haproxy", "-db", "-f", str(config)))
    await_port(port)
    return port, process.pid


def start_router(cluster: Cluster) -> tuple[int, int]:
    """As a daemon of its own, as ``twistd deployd-router`` has it: one worker is the process itself."""
    router = cluster.start_router("r1")
    assert router.process is not None
    cluster.deployctl("route", "set", LOOPBACK, "webapp:http", "v1")
    return int(router.http.rpartition(":")[2]), router.process.pid


def speed(servers: dict[str, tuple[int, int]]) -> Iterator[str]:
    """``servers`` are ports and processes by name."""
    yield "| body | server | req/s | of haproxy | p50 ms | p99 ms | of haproxy | CPU us/request |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for body in WANTED:
        samples: dict[str, list[Sample]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (port, pid) in servers.items():
                samples[name].append(wrk(port, body, pid))
        known = middle(samples["haproxy"])
        for name in servers:
            found = middle(samples[name])
            rate, late = found.rate / known.rate, found.p99 / known.p99
            wanted = f" (>= {WANTED[body]})" if name == "router" else ""
            allowed = f" (<= {WANTED_P99:.0f})" if name == "router" else ""
            yield (
                f"| {body} | {name} | {found.rate:,.0f} | {rate:.2f}{wanted} | {found.p50:.1f} | {found.p99:.1f} |"
                f" {late:.1f}{allowed} | {found.cpu:.0f} |"
            )


def idle_cost(port: int, pid: int) -> float:
    """Kilobytes of a client's connection that has had one answer and waits."""
    with ExitStack() as stack:
        before = resident(pid)
        for _ in range(IDLE):
            sock = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            sock.sendall(b"GET /empty HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle connection was not answered before")
        return (resident(pid) - before) * 1024 / IDLE


def run(directory: Path) -> list[str]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return [f"Speed of the router: not measured, {', '.join(missing)} is not installed"]
    directory.mkdir(exist_ok=True)
    cluster = Cluster(directory)
    try:
        with ExitStack() as stack:
            backend = start_app(cluster)
            router = start_router(cluster)
            cost = idle_cost(*router)
            servers = {"haproxy": start_haproxy(stack, directory, backend), "router": router}
            lines = [f"Speed of one router worker (wrk -t1 -c{CONNECTIONS}, median of {ROUNDS} interleaved rounds)", ""]
            lines.extend(speed(servers))
    finally:
        cluster.close()
    lines += ["", f"Memory of an idle client's connection, of {IDLE:,}: {cost:.1f} kB (allowed: {IDLE_KB})"]
    return lines
