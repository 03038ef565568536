"""The engine beside FastAPI + onnxruntime and LitServe: the same ONNX files, threads and load.

For the chat encoder and the frame model: closed loops at 1, 8 and 64 connections; an open loop at 80 %
of what the engine does at 64; then ten times as much as it can do. Services and clients each have half of
the processors, so that neither takes the other's time. The services take turns, round after round, and
those that wait are suspended: a shared machine is faster at one moment than at another, so what is
compared was measured seconds apart, and of several rounds the median is told. One JSON object on stdout,
tables on stderr.
Usage: bench.py FOLDER_OF_PROGRAMS
"""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median

BIN = Path(sys.argv[1])
HERE = Path(__file__).parent
SECONDS = float(os.environ.get("BENCH_SECONDS", "8"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
OVERLOAD_SECONDS = float(os.environ.get("BENCH_OVERLOAD_SECONDS", "60"))
CORES = sorted(os.sched_getaffinity(0))
HALF = max(1, len(CORES) // 2)
ON_SERVICE = ["taskset", "-c", ",".join(map(str, CORES[:HALF]))]
ON_CLIENTS = ["taskset", "-c", ",".join(map(str, CORES[-HALF:]))]
THREADS = int(os.environ.get("BENCH_THREADS", str(HALF)))
MODELS = {"text": "chat-minilm", "image": "nsfw-mobilenet-v2"}
HEADER = "inference-header-content-length"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Running:
    """A service on a port of its own, until the block ends."""

    def __init__(self, command, ready, port, env=None):
        self.url, self.ready = f"http://127.0.0.1:{port}", ready
        # A pipe that nobody reads stops a service once its log has filled it.
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*ON_SERVICE, *command],
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    def __enter__(self):
        try:
            return self.wait()
        except BaseException:
            self.__exit__()
            raise

    def wait(self):
        for _ in range(300):
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(self.log.read().decode()[-2000:])
            try:
                urllib.request.urlopen(self.url + self.ready, timeout=1)
                return self
            except urllib.error.HTTPError as e:
                if e.code < 500:
                    return self
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError("the service did not start")

    def suspend(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def __exit__(self, *_):
        # A suspended process would not end.
        try:
            self.resume()
        except ProcessLookupError:
            pass
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            say(f"  {self.process.args[len(ON_SERVICE) + 1]} did not end by itself")
        # Workers that outlive their parent, as LitServe's do, would take part in every later figure.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def bodies(folder, kind):
    """The same requests as files for each service: (path, files, headers)."""
    rng = random.Random(7)
    ours, theirs, header = [], [], None
    if kind == "text":
        # Chat lines have 5 to 15 tokens. Short JSON for everybody.
        for n in range(64):
            ids = [101] + [rng.randrange(1996, 29000) for _ in range(rng.randrange(3, 14))] + [102]
            tensor = lambda name, data: {"name": name, "shape": [1, len(ids)], "datatype": "INT64", "data": data}
            ones = [1] * len(ids)
            inputs = [tensor("ids", ids), tensor("mask", ones), tensor("own", ones)]
            for into, name, body in ((ours, "ours", {"inputs": inputs}), (theirs, "theirs", {"ids": [ids]})):
                path = folder / f"{name}-{n}.json"
                path.write_text(json.dumps(body))
                into.append(path)
        return (ours, []), (theirs, ["content-type: application/json"])
    # Pixels as bytes for everybody.
    for n in range(4):
        pixels = struct.pack(f"<{224 * 224 * 3}f", *(rng.random() for _ in range(224 * 224 * 3)))
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": "image",
                        "shape": [1, 224, 224, 3],
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": len(pixels)},
                    }
                ],
                "outputs": [{"name": "probabilities"}],
            }
        ).encode()
        header = len(head)
        for into, name, body in ((ours, "ours", head + pixels), (theirs, "theirs", pixels)):
            path = folder / f"{name}-{n}.bin"
            path.write_bytes(body)
            into.append(path)
    return (ours, [f"{HEADER}: {header}"]), (theirs, [])


def load(service, path, requests, connections, *more, seconds=SECONDS):
    files, headers = requests
    command = [*ON_CLIENTS, BIN / "novastream-eval", "load", "--target", service.url, "--path", "raw", "--at", path]
    for file in files:
        command += ["--file", file]
    for header in headers:
        command += ["--header", header]
    command += ["--connections", str(connections), "--duration", str(seconds), "--warmup", "2"]
    command += ["--pid", str(service.process.pid), "--json", *map(str, more)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    report = json.loads(done.stdout)
    bad = {s: n for s, n in report["status"].items() if s not in ("200",)}
    if bad:
        say("  unexpected answers:", bad)
    return report


def figures(report):
    latency = report["latency_ms"] or {}
    return {
        "per_second": round(report["throughput_per_s"], 1),
        "p50_ms": latency.get("p50"),
        "p99_ms": latency.get("p99"),
        "drop_rate": round(report["drop_rate"], 4),
    }


def middle(rounds):
    """The median of each figure."""
    told = lambda name: [r[name] for r in rounds if r[name] is not None]
    return {name: round(median(told(name)), 4) if told(name) else None for name in rounds[0]}


def compare(kind, folder):
    graph = folder / f"{kind}.onnx"
    subprocess.run([BIN / "novastream", "models", "export", MODELS[kind], "--out", graph], check=True)
    ours, theirs = bodies(folder, kind)
    python = sys.executable
    result = {}

    def engine():
        port = free_port()
        env = {
            "NOVASTREAM__DATA_DIR": str(folder / f"data-{port}"),
            "NOVASTREAM__MODELS__THREADS": str(THREADS),
            "RAYON_NUM_THREADS": str(THREADS),
        }
        command = [BIN / "novastream", "serve", "--listen", f"127.0.0.1:{port}"]
        return Running(command, "/v2/health/ready", port, env)

    def fastapi():
        port = free_port()
        command = [python, HERE / "fastapi_service.py", graph, str(port), str(THREADS)]
        return Running(command, "/ready", port)

    def litserve():
        port = free_port()
        command = [python, HERE / "litserve_service.py", graph, str(port), str(THREADS)]
        return Running(command, "/health", port)

    peers = [("fastapi", fastapi, f"/{kind}", theirs)]
    if kind == "text":
        peers.append(("litserve", litserve, "/predict", theirs))
    path = f"/v2/models/{MODELS[kind]}/infer"
    # Ours comes last, so that its load at 80 % follows what it is taken of.
    services = [*peers, ("novastream", engine, path, ours)]
    rounds = {name: {c: [] for c in (1, 8, 64)} for name, *_ in services}
    steady = []
    with ExitStack() as stack:
        running = {}
        for name, start, *_ in services:
            running[name] = stack.enter_context(start())
            running[name].suspend()

        def measure(name, at, requests, *more):
            running[name].resume()
            figured = figures(load(running[name], at, requests, *more))
            running[name].suspend()
            return figured

        for turn in range(ROUNDS):
            for connections in (1, 8, 64):
                for name, _, at, requests in services:
                    figured = measure(name, at, requests, connections)
                    rounds[name][connections].append(figured)
                    say(f"  {kind:6} {name:11} {connections:3} connections", figured)
            own = rounds["novastream"]
            rate = 0.8 * own[64][turn]["per_second"]
            at_rate = measure("novastream", path, ours, 64, "--rate", rate)
            alone = own[1][turn]["p99_ms"]
            over = round(at_rate["p99_ms"] / alone, 2) if alone and at_rate["p99_ms"] else None
            steady.append({"rate": round(rate, 1), **at_rate, "p99_alone_ms": alone, "p99_over_alone": over})
            say(f"  {kind:6} at 80 %:", steady[-1])

    result = {name: {c: middle(found) for c, found in by.items()} for name, by in rounds.items()}
    for name, *_ in peers:
        ratios = {}
        for connections in (1, 8, 64):
            pairs = zip(rounds["novastream"][connections], rounds[name][connections])
            # A peer that answers nothing right is a fault of this script, not a victory.
            each = [round(o["per_second"] / p["per_second"], 2) if p["per_second"] else None for o, p in pairs]
            ratios[connections] = {"median": None if None in each else median(each), "rounds": each}
        result[name]["ratio"] = ratios
        say(f"  {kind:6} novastream / {name}: {ratios}")
    result["at_80_percent"] = {**middle(steady), "p99_over_alone_rounds": [s["p99_over_alone"] for s in steady]}
    say(f"  {kind:6} at 80 %:", result["at_80_percent"])

    most = result["novastream"][64]["per_second"]
    with engine() as service:
        flood = load(service, path, ours, 256, "--rate", 10 * most, "--drain", 0, seconds=OVERLOAD_SECONDS)
        refused = flood["rejected_latency_ms"] or {}
        result["at_10_times"] = {
            **figures(flood),
            "accepted": flood["accepted"],
            "refused": flood["rejected"],
            "errors": flood["errors"],
            "accepted_max_ms": (flood["latency_ms"] or {}).get("max"),
            "refused_max_ms": refused.get("max"),
            "refused_p99_ms": refused.get("p99"),
            "rss_slope_mib_per_minute": flood["server"] and round(flood["server"]["rss_slope_mib_per_minute"], 2),
            "rss_first_mib": flood["server"] and round(flood["server"]["rss_first_mib"], 1),
            "rss_mib": flood["server"] and round(flood["server"]["rss_last_mib"], 1),
        }
        say(f"  {kind:6} at 10 times:", result["at_10_times"])
    return result


# Whoever stops this program stops what it started as well.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with tempfile.TemporaryDirectory() as work:
    say(f"bench-serving: {os.cpu_count()} processors, {THREADS} threads a service, load before: {os.getloadavg()[0]:.1f}")
    out = {"processors": os.cpu_count(), "threads": THREADS, "seconds": SECONDS, "rounds": ROUNDS, "load_before": os.getloadavg()[0]}
    for kind in os.environ.get("BENCH_MODELS", "text image").split():
        out[kind] = compare(kind, Path(work))
    print(json.dumps(out, indent=1))
