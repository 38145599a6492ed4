"""The conformance kit rejects every broken adapter, each by the test that names its bug."""

from __future__ import annotations

import pytest

from tests.proof import teeth


@pytest.mark.repeats
def test_every_broken_adapter_is_rejected_by_the_right_test() -> None:
    """At least thirty of them; that the good ones pass is tested where they are."""
    [found] = teeth.rows(short=True)
    assert found.complaints == []
    seen, wanted = map(int, found.seen.split("/"))
    assert seen == wanted >= 30
