"""
A cluster of Galera: three MariaDB nodes on loopback, each of which takes writes.

From Debian's `galera-4`; a node that joins copies the data of another by rsync, which refuses to
work for a server that runs as root.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import exc

from tests.processes import HOST, ServerError, free_port, wait_until
from tests.servers.mariadb import MariaDbServer, find_mariadb
from tests.servers.programs import Program

NODES = 3
_LOG_CHARACTERS = 5000
_PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
_PROVIDER_SETTINGS = {
    "gcache.size": "16M",
    # A node that does not answer is out of the cluster within seconds, not within half a minute;
    # but not one that a loaded machine lets wait.
    "evs.keepalive_period": "PT0.5S",
    "evs.suspect_timeout": "PT4S",
    "evs.inactive_timeout": "PT8S",
    "evs.install_timeout": "PT8S",
    # Whoever knows the addresses forms a cluster: nobody outside of the test does.
    "pc.recovery": "false",
}


def find_galera() -> Program | None:
    """Find Galera's library; None where a node can't be started."""
    library = next((it for it in map(Path, _PROVIDERS) if it.exists()), None)
    if library is None or find_mariadb() is None or shutil.which("rsync") is None:
        return None
    return Program(library, "system")


class GaleraNode(MariaDbServer):
    """A node."""

    def state(self, name: str) -> str:
        """Return one of its `wsrep_` status variables."""
        asked = "SELECT variable_value FROM information_schema.global_status WHERE variable_name"
        return str(self.query(f"{asked} = 'wsrep_{name}'"))

    def cut_off(self) -> None:
        """Cut its lines to the other nodes; it still answers clients, and takes no statements."""
        self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")

    def join_again(self) -> None:
        """Mend what `cut_off` did."""
        # It is done, although the node takes no statement, not even the ROLLBACK that follows.
        with contextlib.suppress(exc.OperationalError):
            self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")

    def start(self, *options: str) -> None:
        """As of any server; if it does not join, its log says why."""
        try:
            super().start(*options)
        except ServerError as error:
            message = f"{error}\n{self.process.log()[-_LOG_CHARACTERS:]}"
            raise ServerError(message) from error

    def wait_until_refuses(self) -> None:
        """Wait until it has noticed that it is cut off."""
        wait_until(lambda: not self._serves(), "the node refuses statements")

    def serves(self) -> bool:
        """Check whether it takes statements, and has caught up with the others."""
        return self._serves()

    def _serves(self) -> bool:
        if not super()._serves():
            return False
        try:
            return (self.state("ready"), self.state("local_state_comment")) == ("ON", "Synced")
        except exc.OperationalError:
            return False


class GaleraCluster:
    """
    Three nodes.

    Arguments:
        nodes: these, started.
    """

    def __init__(self, nodes: Sequence[GaleraNode]) -> None:
        self.nodes = nodes

    @classmethod
    @contextlib.contextmanager
    def own(cls) -> Generator[Self]:
        """Yield a cluster of our own."""
        provider = find_galera()
        if provider is None:
            message = (
                "no Galera: install Debian's mariadb-server, galera-4 and rsync, as `make mysql` "
                "does"
            )
            raise ServerError(message)
        ports = [free_port() for _ in range(NODES)]
        address = "gcomm://" + ",".join(f"{HOST}:{it}" for it in ports)
        with contextlib.ExitStack() as stack:
            nodes: list[GaleraNode] = []
            for number, port in enumerate(ports):
                node = GaleraNode.made(_settings(provider, number, port, address))
                stack.callback(node.close)
                nodes.append(node)
            nodes[0].start("--wsrep-new-cluster")
            for node in nodes[1:]:
                node.start()
            yield cls(nodes)

    @contextlib.contextmanager
    def database(self) -> Generator[str]:
        """Yield the name of a fresh database, which all nodes have."""
        with self.nodes[0].database() as name:
            yield name
            self.heal()

    def heal(self) -> None:
        """Make sure that all nodes serve, whatever a test did to them."""
        for node in self.nodes:
            node.heal()
        for node in self.nodes:
            wait_until(node.serves, "the node serves again")


def _settings(provider: Program, number: int, port: int, address: str) -> dict[str, str]:
    incremental = free_port()
    options = {
        **_PROVIDER_SETTINGS,
        "base_host": HOST,
        "base_port": str(port),
        "gmcast.listen_addr": f"tcp://{HOST}:{port}",
        "ist.recv_addr": f"{HOST}:{incremental}",
    }
    return {
        "binlog-format": "ROW",
        "innodb-autoinc-lock-mode": "2",
        "wsrep-on": "ON",
        "wsrep-provider": str(provider.path),
        "wsrep-provider-options": '"' + ";".join(f"{it}={of}" for it, of in options.items()) + '"',
        "wsrep-cluster-name": f"batch_cancel_{address[-5:]}",
        "wsrep-cluster-address": address,
        "wsrep-node-name": f"node{number}",
        "wsrep-node-address": HOST,
        "wsrep-sst-method": "rsync",
        "wsrep-sst-receive-address": f"{HOST}:{free_port()}",
        "wsrep-slave-threads": "2",
    }
