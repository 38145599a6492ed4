"""Redis servers in company, driven by redis-py alone: a cluster, and a pair under sentinels."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Self

from tests.processes import HOST, free_port, wait_until
from tests.servers import RedisServer

# Sentinels look around once a second, or every ten, and take for dead what they have not seen.
_SENTINEL_TIMES = {
    # Below 200, their own reports on replicas, one a second, would count as outdated.
    "PING-PERIOD": 300,
    "INFO-PERIOD": 100,
    "ASK-PERIOD": 100,
    "PUBLISH-PERIOD": 200,
    # On a busy machine they would distrust their own clock, and do nothing for half a minute.
    "TILT-TRIGGER": 20_000,
}


class RedisCluster:
    """A Redis Cluster of three masters, without replicas."""

    def __init__(self) -> None:
        """Start the masters, deal out the slots, and wait until each says the cluster is up."""
        with contextlib.ExitStack() as cleanup:
            arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            self.masters = [
                cleanup.enter_context(
                    RedisServer.own(*arguments, "--cluster-port", str(free_port()))
                )
                for _ in range(3)
            ]
            first = self.masters[0]
            bounds = [0, 5461, 10923, 16384]
            for number, master in enumerate(self.masters):
                master.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                last = bounds[number + 1] - 1
                master.command("CLUSTER", "ADDSLOTSRANGE", bounds[number], last)
                bus = str(master.client.config_get("cluster-port")["cluster-port"])
                first.command("CLUSTER", "MEET", HOST, master.port, bus)
            for master in self.masters:
                wait_until(functools.partial(_knows_all, master), "the cluster is up")
            self._cleanup = cleanup.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def url(self) -> str:
        """Return the URL of one master, from which a client learns the others."""
        return self.masters[0].url()


class MovingSlot:
    """The slot of a namespace on its way from one master to another."""

    def __init__(self, cluster: RedisCluster, namespace: str) -> None:
        """Find the slot, and a master to move it to."""
        key = f"{{{namespace}:0}}:due"
        self._slot = cluster.masters[0].command("CLUSTER", "KEYSLOT", key)
        self._masters = cluster.masters
        owners = [master for master in cluster.masters if self._owns(master)]
        [self.source] = owners
        self.target = next(master for master in cluster.masters if master is not self.source)

    def _owns(self, master: RedisServer) -> bool:
        mine = str(master.command("CLUSTER", "MYID"))
        ranges = master.command("CLUSTER", "SLOTS")
        return any(
            first <= self._slot <= last and owner[2] == mine for first, last, owner in ranges
        )

    def begin(self) -> None:
        """Return both that the slot is on the move."""
        source = self.source.command("CLUSTER", "MYID")
        target = self.target.command("CLUSTER", "MYID")
        self.target.command("CLUSTER", "SETSLOT", self._slot, "IMPORTING", source)
        self.source.command("CLUSTER", "SETSLOT", self._slot, "MIGRATING", target)

    def carry(self) -> None:
        """Carry over every key of the slot."""
        while keys := self.source.command("CLUSTER", "GETKEYSINSLOT", self._slot, 100):
            port = self.target.port
            self.source.command("MIGRATE", HOST, port, "", 0, 5000, "KEYS", *keys)

    def end(self) -> None:
        """Return everybody where the slot is now."""
        target = self.target.command("CLUSTER", "MYID")
        for master in (self.target, self.source, *self._masters):
            master.command("CLUSTER", "SETSLOT", self._slot, "NODE", target)
        self.source, self.target = self.target, self.source
        # Moved again before all have heard of it, a slot may go astray, and its keys with it.
        wait_until(self._agreed, "all nodes have the same view of the cluster")

    def _agreed(self) -> bool:
        return len({frozenset(self._view(master)) for master in self._masters}) == 1

    @staticmethod
    def _view(master: RedisServer) -> Iterator[tuple[str, ...]]:
        """Return id, epoch and slots of each node, as this one sees them."""
        for line in str(master.command("CLUSTER", "NODES")).splitlines():
            words = line.split()
            yield (words[0], words[6], *(word for word in words[8:] if word[0] != "["))

    def all_of_it(self) -> None:
        """Move the slot; it can be moved back in the same way."""
        self.begin()
        self.carry()
        self.end()


class RedisSentinel:
    """A master, its replica, and the sentinels that watch over them."""

    name = "main"

    def __init__(self, sentinels: int = 1) -> None:
        """Start all of them and wait until every sentinel knows all the others."""
        with contextlib.ExitStack() as cleanup:
            self.master = cleanup.enter_context(RedisServer.own())
            follow = ["--replicaof", HOST, str(self.master.port)]
            self.replica = cleanup.enter_context(RedisServer.own(*follow))
            wait_until(self._replicating, "the replica follows")
            config = (
                f"sentinel monitor {self.name} {HOST} {self.master.port} {sentinels // 2 + 1}\n"
                f"sentinel down-after-milliseconds {self.name} 1000\n"
                f"sentinel failover-timeout {self.name} 1000\n"
            )
            self.sentinels = [
                cleanup.enter_context(RedisServer.own("--sentinel", config=config))
                for _ in range(sentinels)
            ]
            for sentinel in self.sentinels:
                for name, milliseconds in _SENTINEL_TIMES.items():
                    sentinel.command("SENTINEL", "DEBUG", name, milliseconds)
            wait_until(self._watched, "the sentinels know each other")
            self._cleanup = cleanup.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of each sentinel, as redis.sentinel.Sentinel wants them."""
        return [(HOST, sentinel.port) for sentinel in self.sentinels]

    def failover(self) -> None:
        """Kill the master and wait until the replica is master in its place."""
        self.master.kill()
        wait_until(self._succeeded, "the replica was made master")
        self.master, self.replica = self.replica, self.master

    def rejoin(self) -> None:
        """Start the server that `failover` killed and wait until it can be master again."""
        self.replica.start()
        # The sentinel would say so too, but only after some seconds.
        self.replica.client.replicaof(HOST, self.master.port)
        wait_until(self._replicating, "the old master follows the new one")
        wait_until(self._watched, "the sentinels have noticed")

    def _replicating(self) -> bool:
        follower = self.replica.client.info("replication")
        return (
            follower.get("master_link_status") == "up"
            and follower["master_port"] == self.master.port
        )

    def _watched(self) -> bool:
        for sentinel in self.sentinels:
            master = sentinel.command("SENTINEL MASTER", self.name)
            replicas = sentinel.command("SENTINEL SLAVES", self.name)
            known = [replica["flags"] for replica in replicas] == ["slave"]
            if not known or master["num-other-sentinels"] != len(self.sentinels) - 1:
                return False
        return True

    def _succeeded(self) -> bool:
        # GET-MASTER-ADDR-BY-NAME names the new one earlier, but redis-py asks for MASTERS.
        agreed = all(
            sentinel.command("SENTINEL MASTER", self.name)["port"] == self.replica.port
            for sentinel in self.sentinels
        )
        return agreed and self.replica.client.info("replication")["role"] == "master"


def _knows_all(master: RedisServer) -> bool:
    info = str(master.command("CLUSTER", "INFO")).split()
    return "cluster_state:ok" in info and "cluster_known_nodes:3" in info
