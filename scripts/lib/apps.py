"""Applications that the demonstration lets two pods run: the servers, and what the clients measure."""

import json
import re

ROWS = {  # key -> title, unit, whether less is better
    "get 1": ("redis-benchmark GET, 1 client", "requests/s", False),
    "set 1": ("redis-benchmark SET, 1 client", "requests/s", False),
    "get 50": ("redis-benchmark GET, 50 clients", "requests/s", False),
    "set 50": ("redis-benchmark SET, 50 clients", "requests/s", False),
    "iperf3": ("iperf3, one stream", "Gbit/s", False),
    "sockperf": ("sockperf, round trip of 64 bytes", "us", True),
}

_SERVERS = {  # image -> command, port
    "redis": (("redis-server", "--save", "", "--protected-mode", "no"), 6379),
    "iperf3": (("iperf3", "-s"), 5201),
    "sockperf": (("sockperf", "server", "--tcp", "-i", "0.0.0.0", "-p", "11111"), 11111),
}


def serve(pair, *images):
    """Starts the servers in one pod, and containers for their clients in the other."""
    for image in images:
        command, _ = _SERVERS[image]
        pair.serve(image, *command, image=image)
        pair.client_container(image)
    for image in images:
        pair.wait_port(_SERVERS[image][1])


def redis(pair, clients, requests, timeout=60):
    """{"GET": requests per second, "SET": ...}"""
    csv = pair.call("redis", "redis-benchmark", "-h", pair.address, "-t", "get,set", "-n",
                    str(requests), "-c", str(clients), "--csv", timeout=timeout)
    rows = [line.replace('"', "").split(",") for line in csv.splitlines()[1:]]
    return {row[0]: float(row[1]) for row in rows}


def iperf3(pair, seconds, timeout=60):
    """Gbit/s as the receiver counts them."""
    result = json.loads(pair.call("iperf3", "iperf3", "-c", pair.address, "-t", str(seconds), "-J",
                                  timeout=timeout))
    return result["end"]["sum_received"]["bits_per_second"] / 1e9


def sockperf(pair, seconds):
    """Microseconds of a round trip, the median."""
    text = pair.call("sockperf", "sockperf", "ping-pong", "--tcp", "-i", pair.address, "-p", "11111",
                     "-t", str(seconds), "-m", "64", "--full-rtt")
    return float(re.search(r"percentile 50.000 = +([\d.]+)", text).group(1))


def measure(pair, *images, requests=20000):
    """A pass through the applications; {key of ROWS: figure}. `requests` are those of one client of
    redis; many get more."""
    figures = {}
    if "redis" in images:
        for clients, count in ((1, requests), (50, 5 * requests // 2)):
            for name, rate in redis(pair, clients, count).items():
                figures[f"{name.lower()} {clients}"] = rate
    if "iperf3" in images:
        figures["iperf3"] = iperf3(pair, 2)
    if "sockperf" in images:
        figures["sockperf"] = sockperf(pair, 1)
    return figures


def table(figures):
    """Prints {variant: figures}; behind a figure is its ratio to the first variant's. A variant may
    lack some."""
    base, *others = figures
    print(f"\n    {'':34}{'':12}{base:>14}" + "".join(f"{name:>24}" for name in others))
    for key, (title, unit, less) in ROWS.items():
        if key not in figures[base]:
            continue
        first, *values = [figures[name].get(key) for name in figures]
        line = f"    {title:34}{unit:12}{_figure(first):>14}"
        line += "".join(f"{_figure(value):>15} {value / first:6.2f} x" if value else f"{'-':>15}{'':9}"
                        for value in values)
        print(line + ("  (less is better)" if less else ""))


def _figure(value):
    return f"{value:.{1 if value < 1000 else 0}f}"
