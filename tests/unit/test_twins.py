"""
The asyncio half of everything says the same as its blocking half.

The shells of ports and adapters are written twice, side by side. Here each asyncio half is
stripped of `async`, `await` and the names that go with them, on its syntax tree, and must then be
its blocking half; `run(x)` there stands for `await x` here, `entered(x)` for `async with x`. What
differs for a reason, and what is written once, stands in twin_differences.py, with the reason. Use
cases and the endpoint are written once (see test_written_once.py).

Docstrings stand in the blocking half. The asyncio half refers to them in one line that names the
blocking half; what is private may do without. Comments and line breaks are not compared. A
forgotten `await` leaves no trace once `await` is stripped; the type checkers find that one.
"""

from __future__ import annotations

from typing import Final

import pytest

import batch_cancel
from tests.unit import twin_comparison
from tests.unit.twin_comparison import (
    HALVES,
    MODULES,
    NAMES,
    Named,
    definitions,
    difference,
    halves,
)
from tests.unit.twin_differences import (
    ELSEWHERE,
    LOOKS_AWAITED,
    MEANT,
    OTHERWISE_MADE,
    UNPAIRED,
    Differs,
)


@pytest.mark.parametrize(("module", "node"), HALVES, ids=lambda it: getattr(it, "name", it))
def test_the_asyncio_half_is_the_blocking_half(module: str, node: Named) -> None:
    """Stripped of async and await, one is the other; its docstrings refer to the other's."""
    twin_module, _ = ELSEWHERE.get(module, (module, ""))
    assert not difference(module, node, definitions(MODULES[twin_module]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ports.py", "AsyncJobRepository"),
        ("ports.py", "AsyncContactRepository"),
        ("ports.py", "AsyncOutbox"),
        ("ports.py", "AsyncWorkRepository"),
        ("ports.py", "AsyncRepositories"),
        ("ports.py", "AsyncUnitOfWork"),
        ("ports.py", "AsyncScheduler"),
        ("adapters/memory/store.py", "AsyncMemoryStore"),
        ("adapters/memory/scheduler.py", "AsyncMemoryScheduler"),
        ("adapters/postgres/unit_of_work.py", "AsyncPostgresUnitOfWork"),
        ("adapters/postgres/joining.py", "_AsyncJoined"),
        ("adapters/postgres/joining.py", "joining_async"),
        ("adapters/redis/library_scheduler.py", "AsyncRecipeScheduler"),
    ],
)
def test_these_are_compared(module: str, name: str) -> None:
    """The comparison sees what it is there for; it would also pass if it saw nothing."""
    assert (module, name) in NAMES


def test_no_exception_is_outdated() -> None:
    """What the tables above name is still there."""
    assert {*MEANT, *LOOKS_AWAITED, *OTHERWISE_MADE, *UNPAIRED} <= NAMES
    assert {*ELSEWHERE} <= {module for module, _ in NAMES}


def test_the_package_offers_both_halves_of_every_function() -> None:
    """Whoever can import one can import the other."""
    functions = {name for name in batch_cancel.__all__ if name.islower()}
    blocking = {name for name in functions if not name.endswith("_async")}
    assert functions - blocking == {f"{name}_async" for name in blocking}


# The comparison itself ---------------------------------------------------------------------------

BLOCKING: Final = '''
def cancel(job: Job, *, uow: UnitOfWork) -> Iterator[int]:
    """Cancel it, see `X` and `f`."""
    with uow.begin() as repositories:
        first = repositories.lock(job)
        return [x for x in first if x.close()] or do(job, first)

class Store:
    """A store."""

    @property
    def location(self) -> str:
        """Where it is."""
        return "X and f"

    @contextmanager
    def begin(self, a: int, b: int = 2) -> AbstractContextManager[redis.Redis]:
        """Begin."""
        for x in self:
            yield x

    def __enter__(self) -> None:
        pass

    def _wait(self) -> None:
        """Wait."""
        self.lock()
        run(self._steps.wait(1))
'''

ASYNCIO: Final = '''
async def cancel_async(job: Job, *, uow: AsyncUnitOfWork) -> AsyncIterator[int]:
    """As `cancel`, awaited."""
    async with uow.begin() as repositories:
        first = await repositories.lock(job)
        return [x async for x in first if await x.aclose()] or await do_async(job, first)

class AsyncStore:
    """As `Store`, awaited."""

    @property
    def location(self) -> str:
        """As `Store.location`."""
        return "AsyncX and f_async"

    @asynccontextmanager
    async def begin(self, a: int, b: int = 2) -> AbstractAsyncContextManager[redis.asyncio.Redis]:
        """As `Store.begin`, awaited."""
        async for x in self:
            yield await _awaited(x)

    async def __aenter__(self) -> None:
        pass

    async def _wait(self) -> None:
        await self.lock()
        await self._steps.wait(1)
'''


def differences(module: str, asyncio_source: str) -> str:
    """Compare a changed asyncio half of the sample with its blocking half."""
    everything = definitions(BLOCKING + asyncio_source)
    found = [difference(module, node, everything) for node in halves(asyncio_source)]
    return "\n".join(filter(None, found))


def test_twins_are_equal() -> None:
    """All that asyncio needs is stripped, and nothing is left."""
    assert not differences("sample.py", ASYNCIO)


@pytest.mark.parametrize(
    ("written", "planted"),
    [
        ("b: int = 2", "b: int = 3"),
        ("b: int = 2", "b: int"),
        ("self, a: int, b: int = 2", "self, b: int = 2, a: int = 0"),
        ("a: int, b", "a: str, b"),
        ('"""As `Store.begin`, awaited."""', '"""Begin."""'),
        ('"""As `Store.begin`, awaited."""', '"""As `Store.begin`."""'),
        ('"""As `Store.begin`, awaited."""', '"""As `Store.location`, awaited."""'),
        ('"""As `Store.begin`, awaited."""', ""),
        ('"""As `Store.location`."""', '"""As `Store.location`, awaited."""'),
        ('"""As `Store`, awaited."""', ""),
        ('"""As `Store`, awaited."""', '"""As `AsyncStore`, awaited."""'),
        ('"""As `cancel`, awaited."""', '"""Cancel it, see `X` and `f`."""'),
        ("await self.lock()", '"""Wait."""; await self.lock()'),
        ("await self.lock()", '"""As `Store.wait`, awaited."""; await self.lock()'),
        ("AsyncX and", "AsyncY and"),
        ("job: Job, *, uow", "job: Job, uow"),
        ("uow: AsyncUnitOfWork", "uow: AsyncScheduler"),
        ("(job, first)", "(first, job)"),
        ("await self._steps.wait(1)", "await self._steps.wait(2)"),
        ("if await x.aclose()", "if not await x.aclose()"),
        ("first = await repositories.lock(job)", "first = job"),
        ("async with uow.begin() as repositories:", "if True:"),
        ("async for x in self", "async for x in other"),
        ("    @asynccontextmanager\n", ""),
        ("cancel_async", "cancel_slowly_async"),
        ("cancel_async", "cancel_in_a_task"),
        ("AsyncStore", "StoreForTasks"),
        ("AsyncStore", "AsyncShop"),
        ("redis.asyncio.Redis", "redis.asyncio.RedisCluster"),
        ("async def __aenter__", "async def __aexit__"),
    ],
)
def test_a_planted_difference_is_caught(written: str, planted: str) -> None:
    """Each one alone."""
    assert ASYNCIO.count(written) == 1
    assert differences("sample.py", ASYNCIO.replace(written, planted))


def test_a_meant_difference_must_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no longer applies has to go."""
    meant = {("sample.py", "AsyncStore"): (Differs("b: int=2", "b: int=2", "None."),)}
    monkeypatch.setattr(twin_comparison, "MEANT", meant)
    assert not differences("sample.py", ASYNCIO)
    assert "outdated" in differences("sample.py", ASYNCIO.replace("b: int = 2", "b: int = 3"))


def test_halves_that_work_differently_may_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their docstrings may be their own, but neither repeat the others' nor name another half."""
    monkeypatch.setattr(
        twin_comparison, "OTHERWISE_MADE", {("sample.py", "AsyncStore"): "A reason."}
    )
    own = ASYNCIO.replace("As `Store.begin`, awaited.", "Begin, on the loop.")
    assert not differences("sample.py", own)
    assert differences("sample.py", ASYNCIO.replace("As `Store.begin`, awaited.", "Begin."))
    assert differences("sample.py", ASYNCIO.replace("`Store.begin`", "`Store.end`"))


def test_a_blocking_half_is_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is named: then its coroutines are those of the asyncio half."""
    blocking = BLOCKING.replace("    def _wait", "    async def _wait").replace("run(", "(await ")
    everything = definitions(blocking + ASYNCIO)
    _, store = halves(ASYNCIO)
    assert difference("sample.py", store, everything)
    monkeypatch.setattr(twin_comparison, "LOOKS_AWAITED", {("sample.py", "AsyncStore"): "Why."})
    assert not difference("sample.py", store, everything)


def test_halves_that_work_differently_have_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their bodies may differ, their methods and parameters may not."""
    monkeypatch.setattr(
        twin_comparison, "OTHERWISE_MADE", {("sample.py", "AsyncStore"): "A reason."}
    )
    assert not differences("sample.py", ASYNCIO.replace("async for x in self", "for x in other"))
    assert differences("sample.py", ASYNCIO.replace("a: int, b", "z: int, b"))
