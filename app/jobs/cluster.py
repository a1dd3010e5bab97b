"""Runs orders on a Ray cluster: an actor for each process, with its resources. Knows Ray, not jobs or databases.

The queue stays ours: Ray only finds room for a job that a worker has claimed. Nothing is tried again by Ray; what is
lost there is lost to the worker, which begins the job again from its last checkpoint.
"""

from __future__ import annotations

import importlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from app.errors import Invalid
from app.jobs.executors import Gone, Message, Order
from app.jobs.member import Member, files
from models.devices import Device

log = structlog.get_logger("cellgate.worker")

BLOCK = 8 * 1024 * 1024
"""Bytes of a file on their way at once."""
REACH = 5.0
"""Seconds in which the cluster must be reached."""
LAST = {"done", "stopped", "failed"}
CALLS = 4
"""Calls of one process at once: it works, is listened to, is told to stop, and gives a file."""


class RayExecutor:
    """A Ray cluster that runs already, of which this machine is a node."""

    def __init__(self, address: str | None) -> None:
        """Raises `Invalid` where there is no such cluster, or no Ray here."""
        if not address:
            raise Invalid("CELLGATE_EXECUTOR=ray needs RAY_ADDRESS: the address of a running cluster, as 10.0.0.1:6379")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise Invalid("CELLGATE_EXECUTOR=ray needs Ray: install cellgate[ray]") from None
        handled = signal.getsignal(signal.SIGTERM)
        try:
            _reach(address)
            self._ray.init(address, log_to_driver=False, configure_logging=False, namespace="cellgate")
        except Exception as error:  # whatever a cluster refuses by
            raise Invalid(f"the Ray cluster at RAY_ADDRESS cannot be used ({type(error).__name__})") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handled)  # a worker ends in its own way

    def devices(self) -> list[Device]:
        """What the cluster's nodes have. How much memory a GPU has Ray does not say: a job's wish for it is granted."""
        held = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        memory = int(max((node.get("memory", 0.0) for node in held), default=0.0))
        gpus = int(sum(node.get("GPU", 0.0) for node in held))
        cpu = _device("cpu", memory)
        return [*(_device(f"cuda:{index}", sys.maxsize) for index in range(gpus)), cpu]

    def warm(self) -> None:
        """Nothing to load: the processes are the cluster's."""

    def start(self, order: Order) -> RayRunning:
        return RayRunning(self._ray, order)

    def close(self) -> None:
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Whether anybody listens at `host:port`: Ray would try for minutes, and heed no signal. Raises `OSError`."""
    host, _, port = address.rpartition(":")
    if "//" not in address and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()


def _device(name: str, memory: int) -> Device:
    kind = name.partition(":")[0]
    return Device(
        id=name, kind=kind, name="of the Ray cluster", memory_total=memory, memory_free=memory, precisions=("fp32",)
    )


def resources(order: Order) -> dict[str, float]:
    """What each process of an order needs of its node, by Ray's names."""
    gpu = not order.devices[0].startswith("cpu")
    needs = {"CPU": float(order.threads), "GPU": float(gpu), "memory": 0.0 if gpu else float(order.memory)}
    return {name: amount for name, amount in needs.items() if amount}


class RayRunning:
    """Actors at one order; the first speaks for all, and none goes on without the others."""

    def __init__(self, ray: Any, order: Order) -> None:
        self._ray, self._order = ray, order
        self._heard: SimpleQueue[Message | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._members: list[Any] = []
        self._group: Any = None
        self._at_work = self._over = False
        self._how = "ended on Ray"
        threading.Thread(target=self._live, daemon=True).start()

    def messages(self, timeout: float) -> list[Message]:
        found: list[Message] = []
        try:
            while (message := self._heard.get(timeout=0 if found else timeout)) is not None:
                found.append(message)
        except Empty:
            return found
        if not found:
            raise Gone(self._how)
        self._heard.put(None)
        return found

    def stop(self, reason: str) -> None:
        with self._lock:
            if self._at_work:
                self._members[0].stop.remote(reason)
            else:  # the cluster has no room yet: there is nothing to wait for
                self._heard.put(("stopped", {"reason": reason}))

    def answer(self, text: str | None) -> None:
        self._members[0].answer.remote(text)

    def pids(self) -> list[int]:
        """The processes at work, the first first, each on its own machine."""
        found: list[int] = self._ray.get([member.pid.remote() for member in self._members])
        return found

    def kill(self) -> None:
        with self._lock:
            self._over = True
            for member in self._members:
                self._ray.kill(member, no_restart=True)
            if self._group is not None:
                self._ray.util.remove_placement_group(self._group)

    def _live(self) -> None:
        """From the wait for room to the last message; whatever ends it early is the loss of the work."""
        try:
            self._gather()
            order = self._moved()
            with self._lock:
                self._at_work = True
            work = [member.work.remote(order, rank) for rank, member in enumerate(self._members)]
            while not self._over:
                for message in self._ray.get(self._members[0].messages.remote(0.2)):
                    self._heard.put(self._brought(message))
                    if message[0] in LAST:
                        return
                self._ray.get(self._ray.wait(work, num_returns=len(work), timeout=0)[0])  # raises for one that died
        except Exception as error:
            self._how = f"{type(error).__name__} on Ray"
            if not self._over:
                log.warning("work on Ray lost", job=self._order.job, error=type(error).__name__)
        finally:
            self._heard.put(None)

    def _gather(self) -> None:
        """Room for every process or for none, and a process in each; waits for it."""
        size, needs = len(self._order.devices), resources(self._order)
        strategies: list[Any] = [None]
        if size > 1:
            group = self._ray.util.placement_group([needs] * size, strategy="PACK")
            with self._lock:
                self._group = group
            self._ray.get(group.ready())
            scheduling = importlib.import_module("ray.util.scheduling_strategies").PlacementGroupSchedulingStrategy
            strategies = [scheduling(group, placement_group_bundle_index=rank) for rank in range(size)]
        with self._lock:
            if self._over:
                raise Gone("ended before it began")
            for strategy in strategies:
                self._members.append(self._actor(needs).options(scheduling_strategy=strategy).remote())
        self.pids()

    def _actor(self, needs: Mapping[str, float]) -> Any:
        given = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0.0), "memory": needs.get("memory")}
        return self._ray.remote(max_concurrency=CALLS, max_restarts=0, **given)(Member)

    def _moved(self) -> Order:
        """The order as the processes understand it, once its files are with them. Ray shows each its own GPU alone."""
        for path in files(self._order):
            for block in _blocks(path):
                held = self._ray.put(block)
                self._ray.get([member.take.remote(path.name, held) for member in self._members])
        kind = self._order.devices[0].partition(":")[0]
        device = kind if kind == "cpu" else f"{kind}:0"
        order = replace(self._order, devices=(device,) * len(self._members))
        if len(self._members) == 1:
            return order
        return replace(order, meeting=self._ray.get(self._members[0].meeting.remote()))

    def _brought(self, message: Message) -> Message:
        """A message whose file lies on this machine."""
        kind, data = message
        name = {"checkpoint": "path", "done": "zip"}.get(kind)
        if name is None or name not in data:
            return message
        there = data[name]
        folder = self._order.checkpoints if kind == "checkpoint" else self._order.folder.parent
        here = folder / Path(there).name
        with here.open("wb") as file:
            while block := self._ray.get(self._members[0].give.remote(there, file.tell(), BLOCK)):
                file.write(block)
        return kind, {**data, name: str(here)}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
