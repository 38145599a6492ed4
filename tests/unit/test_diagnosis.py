"""What an examination has found, as a diagnosis, and the sentences that several stores say."""

from __future__ import annotations

from batch_cancel.domain.diagnosis import Diagnosis, Findings, all_there, not_granted


def test_each_sentence_is_told_once() -> None:
    """In the order in which they were found."""
    found = Findings(fits=["b", "a", "b"], missing=["m"], slow=["s"], workers=["w"], notes=["n"])
    assert found.diagnosis() == Diagnosis(
        fits=("b", "a"), missing=("m",), slow=("s",), workers=("w",), notes=("n",)
    )
    assert found.diagnosis().problems == ["m", "s"]


def test_what_to_grant_is_told() -> None:
    """As a statement that can be copied."""
    assert not_granted("UPDATE", ["status", "updated_at"], "app.jobs") == (
        "the user that connects may not UPDATE status, updated_at of app.jobs: "
        "GRANT UPDATE ON app.jobs to it"
    )
    assert all_there("app.jobs") == "app.jobs has all that a cancel needs"
