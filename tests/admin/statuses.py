"""A service's status with something in every field."""

from __future__ import annotations

from prefork.admin.tree import Process, Processes
from prefork.control.status import ListenerStatus, ServiceStatus, SlotStatus, TotalsStatus, WorkerStatus

LATENCY = tuple(range(32))
STATUS = ServiceStatus(
    version="0.1.0",
    name="shop",
    app="shop.web:app",
    interface="asgi",
    chdir="/srv/shop",
    config_file="",
    pid=100,
    uid=0,
    python="3.11.7",
    started_at=1_700_000_000.5,
    uptime_s=12.5,
    state="serving",
    is_parked=False,
    is_drained=False,
    is_ready=True,
    gen=3,
    workers_wanted=2,
    workers_ready=1,
    workers_why="",
    min_ready=1,
    balance="shared",
    addresses=("127.0.0.1:8000",),
    listeners=(
        ListenerStatus(address="127.0.0.1:8000", backlog=7),
        ListenerStatus(address='unix:/run/"\\\n.sock', backlog=0),
        ListenerStatus(address="unix:/run/shop.sock", backlog=None),
    ),
    slots=(SlotStatus(index=0, state="filled"), SlotStatus(index=1, state="backoff", retry_in_s=0.5)),
    workers=(
        WorkerStatus(serial=1, slot=0, gen=3, pid=411, state="ready", lag_s=0.25),
        WorkerStatus(serial=2, slot=1, gen=2, pid=412, state="draining", lag_s=0.125),
    ),
    rollout=None,
    reloads=2,
    rollbacks=1,
    last_reload="ok",
    restarts={"crash": 4},
    totals=TotalsStatus(
        requests=1110,
        accepted=55,
        statuses=(1, 1000, 90, 9, 10),
        bytes_in=2**60,
        bytes_out=77,
        busy_s=1.5,
        shed=6,
        latency=LATENCY,
    ),
    p50_s=0.1,
    p90_s=0.2,
    p99_s=0.3,
    in_flight=5,
    connections=8,
)
PROCESSES = Processes(
    (
        Process(100, "master", 1000, 600, 0.5),
        Process(405, "zygote", 2000, 700, 0.5),
        Process(411, "worker", 3000, 800, 1.5),
        Process(412, "worker", 3000, None, 1.5),
    ),
    4.25,
)
