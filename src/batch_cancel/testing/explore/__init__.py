"""
Explore every interleaving of the protocol: the product's own use cases, on a model of its stores.

    python -m batch_cancel.testing.explore                     # all scenarios
    python -m batch_cancel.testing.explore --scenario start    # one

What runs is `cancel_job_async`, `cancel_jobs_async`, `reconcile_async`, `pump_async` and the
workers' steps as they are shipped, driven by hand through `send(None)`, as the blocking functions
drive them. What they await are fakes of the ports. Between two steps of an actor any other may
act, and every fault
may strike an actor: it is killed, hangs, is cancelled, gets no answer, or gets a conflict. Every
order of these steps and faults is searched; equal states are searched once, and the orders that
lead to them are counted. `execute` runs each order by itself, on its own coroutines: both must
count the same.

The model of Postgres (`postgres_model.py`): each statement in the steps that carry it out, as READ
COMMITTED has it. It takes a snapshot; it locks row by row, waiting for whoever has one in hand or,
with SKIP LOCKED, passing over it; of a row that it locked it sees the newest version and tests its
condition again on that row alone, with everything else from its snapshot; it keeps its locks to
the end. A commit is one moment. A commit whose answer is lost happens at any later moment or
never, and keeps its locks until then. In a scenario whose `locks_are_local`, each actor is on a
node of its own, as in Galera: no other sees its row locks, and of two transactions that wrote a
row that both had locked, the first to commit wins. The model of Redis: each operation is one
moment, by the rules of `domain/deferred_start.py`; one whose answer is lost happens at any later
moment or never.

What it does not see: time (a lease may run out at any moment, a lock is waited for without end),
the text of the SQL and Lua (tests on real servers are for that, and the conformance kit), more
actors, contacts and faults than a scenario has, the order in which waiters are served (every order
is tried), isolation levels above READ COMMITTED, and what triggers do.

Your own workers, if they go through the ports, can be explored too:

    from batch_cancel.testing.explore import Actor, Scenario, actors, explore

    async def my_worker(ports):
        async with ports.uow.begin() as transaction:
            status = await transaction.look("reads the job", lambda rows: rows.job.status)
            ...

    report = explore(Scenario(
        "mine", "my worker beside a cancel", [actors.cancel(), Actor("mine", my_worker)],
        actors.reconcile_pass, status="running", contacts=["dialing"],
    ))
    assert report.found is None, str(report.found)
"""

from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.actor_state import Actor, Program
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.invariants import INVARIANTS
from batch_cancel.testing.explore.must_happen import SIGHTINGS
from batch_cancel.testing.explore.postgres_model import Transaction
from batch_cancel.testing.explore.rows import JOB, ContactRow, JobRow, Rows
from batch_cancel.testing.explore.scenarios import SCENARIOS
from batch_cancel.testing.explore.search import (
    Found,
    Report,
    execute,
    explore,
    read,
    replay,
    story,
    written,
)
from batch_cancel.testing.explore.state import FAULTS, Scenario

__all__ = [
    "FAULTS",
    "INVARIANTS",
    "JOB",
    "SCENARIOS",
    "SIGHTINGS",
    "Actor",
    "ContactRow",
    "Found",
    "JobRow",
    "Ports",
    "Program",
    "Report",
    "Rows",
    "Scenario",
    "Transaction",
    "actors",
    "execute",
    "explore",
    "read",
    "replay",
    "story",
    "written",
]
