"""The explorer: what it finds, that it counts right, and that its stories are true."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.statuses import JobStatus
from batch_cancel.testing.explore import (
    INVARIANTS,
    JOB,
    SCENARIOS,
    Actor,
    Ports,
    Scenario,
    actors,
    execute,
    explore,
    read,
    replay,
    story,
    written,
)
from batch_cancel.testing.explore.__main__ import main
from batch_cancel.testing.explore.state import FAULTS
from tests.proof import exploration
from tests.proof.protocol_bugs.every import BUGS, Bug
from tests.proof.report import table


@pytest.mark.repeats
def test_the_protocol_holds_in_every_interleaving() -> None:
    """The short form of the proof; `make proof` runs all of it."""
    rows = exploration.rows(short=True)
    assert not [complaint for row in rows for complaint in row.complaints], table(rows)


@pytest.mark.repeats
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_protocol_is_found_and_told(bug: Bug) -> None:
    """By the invariant that was written down for it; its schedule, executed again, breaks it."""
    found = explore(bug.scenario).found
    assert found is not None
    assert found.violation.invariant == bug.invariant
    assert replay(bug.scenario, read(written(found.schedule))) == found.violation
    assert found.violation.what in str(found)


def test_every_invariant_is_there_and_all_but_the_last_kind_are_broken_by_some_bug() -> None:
    """I20 compares adapters, and there is one store in here; it says so itself."""
    assert set(INVARIANTS) == {f"I{number}" for number in range(1, 22)}
    assert set(INVARIANTS) - {bug.invariant for bug in BUGS} == {"I20"}
    assert "not checked here" in INVARIANTS["I20"].says


@pytest.mark.repeats
@pytest.mark.parametrize("name", ["start", "append", "ended", "no-start", "bulk-finish"])
def test_the_ways_are_counted_as_they_are_executed(name: str) -> None:
    """The count through shared states is that of the schedules executed one by one."""
    scenario = SCENARIOS[name]
    together, alone = explore(scenario), execute(scenario)
    assert together.interleavings == alone.interleavings
    assert together.seen == alone.seen
    assert together.steps_killed == alone.steps_killed


def test_the_ways_are_counted_by_hand() -> None:
    """
    Two workers that look at a job three steps each: 6! / (3! 3!) orders, 4 x 4 places.

    A worker who asks whether the job still runs begins, reads and commits.
    """

    async def look(ports: Ports) -> object:
        async with ports.uow.begin() as transaction:
            return await transaction.look("looks", lambda rows: rows[0][0])

    scenario = Scenario(
        "by hand", "", [Actor("one", look), Actor("two", look)], actors.reconcile_pass
    )
    report = explore(scenario)
    assert (report.interleavings, report.states) == (20, 16)
    assert execute(scenario).interleavings == 20


@pytest.mark.parametrize("name", ["node-append", "node-settle", "node-expire"])
def test_on_several_nodes_a_lock_is_no_promise_and_a_write_is_one(name: str) -> None:
    """The same steps leave a contact open if they do not write the job."""
    scenario = SCENARIOS[name]
    assert explore(scenario).found is None
    locking = [attrs.evolve(it, writes_job=False) for it in scenario.actors]
    found = explore(attrs.evolve(scenario, actors=locking)).found
    assert found is not None
    assert found.violation.invariant == "I4"
    assert replay(found.scenario, found.schedule) == found.violation


def test_on_several_nodes_the_first_commit_of_a_row_wins() -> None:
    """Two transactions lock and write one row at once; the second gets a conflict."""
    ends: set[object] = set()

    async def write(ports: Ports) -> object:
        try:
            async with ports.uow.begin() as transaction:
                await transaction.lock("locks the job", JOB, lambda _: None)
                transaction.write_job(JOB, JobStatus.RUNNING)
        except StoreFailed as failure:
            ends.add(failure.fault)
            return failure.fault
        ends.add(None)
        return None

    actors_of_it = [Actor("one", write, suffers=""), Actor("two", write, suffers="")]
    scenario = Scenario(
        "nodes", "", actors_of_it, actors.reconcile_pass, "running", locks_are_local=True
    )
    assert execute(scenario).interleavings == explore(scenario).interleavings
    assert ends == {None, Fault.CONFLICT}
    ends.clear()
    execute(attrs.evolve(scenario, locks_are_local=False))
    assert ends == {None}


def test_a_bug_is_found_in_both_modes() -> None:
    """The one by one mode checks as well; its schedule need not be the shortest."""
    [bug] = [bug for bug in BUGS if bug.name == "snapshot settle"]
    together, alone = explore(bug.scenario).found, execute(bug.scenario).found
    assert together is not None
    assert alone is not None
    assert together.violation == alone.violation
    assert len(together.schedule) <= len(alone.schedule)


def test_a_story_says_who_did_what_and_what_he_saw() -> None:
    """And the line that tells it again comes last."""
    [bug] = [bug for bug in BUGS if bug.name == "check-then-act start"]
    found = explore(bug.scenario).found
    assert found is not None
    told = str(found)
    assert "I2 does not hold" in told
    assert "start        reads the job's status: True" in told
    assert "cancel       commits" in told
    assert f"Again: print(*story(scenario, read('{written(found.schedule)}'))" in told


def test_the_line_that_tells_it_again_works_for_a_scenario_of_ones_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is no scenario that the command knows, even where it has the name of one."""
    [bug] = [bug for bug in BUGS if bug.name == "check-then-act start"]
    found = explore(bug.scenario).found
    narrated, _, again = str(found).rpartition("\nAgain: ")
    exec(again, {"scenario": bug.scenario, "read": read, "story": story})  # noqa: S102  # Ours.
    assert narrated.endswith(capsys.readouterr().out.rstrip("\n"))


def test_a_fault_of_an_actor_is_reported() -> None:
    """A kill, a lost answer, and what became of it."""
    schedule = read("0 0 0 0 0 0l -1a 0 0 0 0 1k")
    told = "\n".join(story(SCENARIOS["lost"], schedule))
    assert "cancel       gets no answer where it commits" in told
    assert "cancel       what it sent last (commits) arrives after all" in told
    assert "claim        is killed where it begins" in told


def test_the_replay_line_reproduces(capsys: pytest.CaptureFixture[str]) -> None:
    """The command tells the same story, and says that all holds where it does."""
    assert main(["--scenario", "lost", "--schedule", "0 0 0 0 0 0l -1a"]) == 0
    told = capsys.readouterr().out
    assert "arrives after all" in told
    assert told.endswith("all holds\n")


def test_the_replay_line_reproduces_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search and the replay of its schedule name the same invariant, and both fail."""
    [bug] = [bug for bug in BUGS if bug.name == "split transaction"]
    monkeypatch.setitem(SCENARIOS, "planted", attrs.evolve(bug.scenario, name="planted"))
    assert main(["--scenario", "planted"]) == 1
    told = capsys.readouterr().out
    schedule = told.strip().rpartition("--schedule ")[2].strip("'")
    assert main(["--scenario", "planted", "--schedule", schedule]) == 1
    assert "I17: cancel: contact c0 became cancelled" in capsys.readouterr().out


def test_the_invariants_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what is checked of it."""
    assert main(["--invariants"]) == 0
    assert capsys.readouterr().out.count("\n") == 21


def test_it_runs_as_a_command() -> None:
    """`python -m`, as the replay line says it."""
    command = [sys.executable, "-m", "batch_cancel.testing.explore", "--scenario", "start"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "5,266 interleavings" in answer.stdout


def test_a_schedule_is_read_as_it_was_written() -> None:
    """Every fault, and what is adrift."""
    schedule = [(0, ""), (12, "k"), (-1, "a"), (-2, "n"), *((1, letter) for letter in FAULTS)]
    assert read(written(schedule)) == schedule


def test_a_worker_of_ones_own_is_explored() -> None:
    """An adopter's worker that writes what it read before is found out."""

    async def naive(ports: Ports) -> object:
        async with ports.uow.begin() as transaction:
            status = await transaction.look("reads the job", lambda rows: rows.job.status)
            if status == "running":
                transaction.insert_contact(JOB, "mine")
            return status

    scenario = Scenario(
        "mine", "", [actors.cancel(), Actor("mine", naive)], actors.reconcile_pass, "running"
    )
    found = explore(scenario).found
    assert found is not None
    assert found.violation.invariant == "I4"


def test_rows_keep_their_names_after_a_write() -> None:
    """A worker that reads what it wrote, and a row that it locked, finds them by name."""
    seen: list[object] = []

    async def worker(ports: Ports) -> None:
        async with ports.uow.begin() as transaction:
            seen.append(await transaction.lock("locks the job", JOB, lambda row: row.status))
            transaction.write_job(JOB, JobStatus.COMPLETED)
            rows = await transaction.look("reads all", lambda rows: rows)
            seen.extend([rows.job.status, rows.record, [it.status for it in rows.contacts]])
            seen.append(await transaction.lock("looks again", JOB, lambda row: row.status))

    actor = Actor("mine", worker, suffers="")
    execute(Scenario("mine", "", [actor], actors.reconcile_pass, "running", ["dialing"]))
    assert seen == ["running", "completed", None, ["dialing"], "completed"]
