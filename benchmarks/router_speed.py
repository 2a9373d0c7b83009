"""Requests through one worker of the router, beside haproxy with one thread; and what an idle client costs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks.idle_memory import resident
from tests.e2e.cluster import PYTHON_ENVIRONMENT

LOOPBACK = "127.0.0.1"
ROUNDS = 5
SECONDS = 3
CONNECTIONS = 50
# The body's size, and how many requests per second of haproxy's are wanted.
BODIES = {"empty": 0, "1 kB": 1024, "100 kB": 102_400}
WANTED = {"empty": 0.35, "1 kB": 0.35, "100 kB": 0.55}
WANTED_P99 = 4.0
IDLE = 5000
IDLE_KB = 20
PROGRAMS = ("nginx", "haproxy", "wrk")

NGINX = """daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {locations}
  }}
}}
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


def start_backend(stack: ExitStack, directory: Path) -> int:
    port = free_port()
    locations = "\n    ".join(
        f'location = {path_of(body)} {{ return 200 "{"x" * min(size, 2000)}"; }}'
        if size <= 2000
        else f"location = {path_of(body)} {{ alias {directory}/{size}; }}"
        for body, size in BODIES.items()
    )
    for size in BODIES.values():
        (directory / str(size)).write_bytes(b"x" * size)
    # nginx reads the files as nobody when it is started by root.
    for path in (directory, directory.parent):
        path.chmod(0o755)
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port, locations=locations))
    stack.enter_context(running("nginx", "-e", str(directory / "nginx.log"), "-c", str(config)))
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


def start_router(stack: ExitStack, backend: int) -> tuple[int, int]:
    command = (sys.executable, "-m", "benchmarks.static_router", str(backend))
    process = stack.enter_context(running(*command, stdout=subprocess.PIPE))
    assert process.stdout is not None
    return int(process.stdout.readline()), process.pid


def speed(directory: Path) -> Iterator[str]:
    with ExitStack() as stack:
        backend = start_backend(stack, directory)
        servers = {"haproxy": start_haproxy(stack, directory, backend), "router": start_router(stack, backend)}
        yield "| body | server | req/s | of haproxy | p50 ms | p99 ms | of haproxy | CPU us/request |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        for body in BODIES:
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


def idle_cost(backend: int) -> float:
    """Kilobytes of a client's connection that has had one answer and waits."""
    with ExitStack() as stack:
        port, pid = start_router(stack, backend)
        before = resident(pid)
        for _ in range(IDLE):
            sock = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            sock.sendall(b"GET /empty HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            sock.recv(65536)
        return (resident(pid) - before) * 1024 / IDLE


def run(directory: Path) -> list[str]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return [f"Speed of the router: not measured, {', '.join(missing)} is not installed"]
    directory.mkdir(exist_ok=True)
    lines = [f"Speed of one router worker (wrk -t1 -c{CONNECTIONS}, median of {ROUNDS} interleaved rounds)", ""]
    lines.extend(speed(directory))
    with ExitStack() as stack:
        cost = idle_cost(start_backend(stack, directory))
    lines += ["", f"Memory of an idle client's connection, of {IDLE:,}: {cost:.1f} kB (allowed: {IDLE_KB})"]
    return lines
