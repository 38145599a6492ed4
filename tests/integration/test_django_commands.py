"""`manage.py batch_cancel`: the command line's commands, on the application of the setting."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import django_app
from tests.integration.command_line import leave_the_log_alone
from tests.integration.django_app import CANCELLED, add_campaign, site, states

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leave_the_log_alone", "site"]


@pytest.fixture(autouse=True)
def campaigns(site: str) -> Iterator[None]:
    """Have a scheduled campaign of organization a; forget all afterwards."""
    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.models import Campaign

    add_campaign("job", "a", "PLANNED")
    yield
    Campaign.objects.all().delete()
    Cancellation.objects.all()._raw_delete("default")


def manage(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run manage.py, and return its exit code and what it printed."""
    from django.core.management import execute_from_command_line

    capfd.readouterr()
    code: Any = 0
    try:
        execute_from_command_line(["manage.py", "batch_cancel", *arguments])
    except SystemExit as ended:
        code = ended.code
    told = capfd.readouterr()
    return code, told.out, told.err


def test_a_cancel_ends_with_the_codes_of_the_command_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """0, 2, 3 and 4."""
    before = states("job")
    code, out, err = manage(capfd, "cancel", "job", "--organization", "b")
    assert (code, json.loads(out)) == (3, {"detail": "Batch job not found"})
    assert err.startswith("batch-cancel: ")
    assert manage(capfd, "cancel")[0] == 2
    assert states("job") == before
    code, out, err = manage(capfd, "cancel", "job", "--organization=a", "--actor", "ada")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "success": True,
        "message": "Scheduled job cancelled successfully",
        "batchJobId": "job",
        "redisJobCancelled": True,
        "contactsCancelled": 2,
    }
    assert states("job") == CANCELLED
    assert manage(capfd, "cancel", "job", "--organization", "a")[0] == 4


def test_the_other_commands_are_there(capfd: pytest.CaptureFixture[str]) -> None:
    """Each on the application's store and scheduler; its hook is called."""
    from batch_cancel import cancel_rows
    from tests.django_calls.wiring import app, told

    told.clear()
    of = ("--organization", "a")
    assert manage(capfd, "check")[1].startswith("store and scheduler are fit\n")
    assert manage(capfd, "inspect") == (0, "no drift: database and scheduler agree\n", "")
    assert manage(capfd, "preview", "job", *of)[0] == 0
    assert manage(capfd, "progress", "job", *of)[0] == 0
    assert manage(capfd, "show", "job", *of)[0] == 3
    cancel_rows("job", uow=app.uow, organization_id="a", announce=True)
    assert manage(capfd, "reconcile", "--lease", "0")[0] == 0
    assert [it.batch_job_id for it in told] == ["job"]
    assert manage(capfd, "show", "job", *of)[0] == 0
    assert "job 'job'" in manage(capfd, "history", *of)[1]
    assert manage(capfd, "forget", "--before", "365d")[0] == 0
    assert manage(capfd, "cancel-many", "job", *of, "--yes")[0] == 4
    assert manage(capfd, "expire-calls", "job", *of, "--older-than", "4h")[0] == 0
    assert manage(capfd, "doctor")[0] == 0
    assert "CREATE TABLE" in manage(capfd, "schema")[1]


def test_without_arguments_the_commands_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """Under the name that they have here."""
    _, out, err = manage(capfd)
    assert "Usage: manage.py batch_cancel [OPTIONS] COMMAND" in out + err
    assert "reconcile" in out + err


def test_what_is_typed_counts_more_than_the_setting(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does the environment."""
    code, _, err = manage(capfd, "inspect", "--app", "nowhere:app")
    assert code == 2
    assert "nowhere" in err
    code, _, err = manage(capfd, "inspect", "--store", "sqlite:///none.db")
    assert code == 5
    monkeypatch.setenv("BATCH_CANCEL_APP", "elsewhere:app")
    assert "elsewhere" in manage(capfd, "inspect")[2]


def test_without_the_setting_the_command_says_what_it_needs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As the command line does."""
    with django_app.settings(BATCH_CANCEL_APP=None):
        code, _, err = manage(capfd, "inspect")
    assert code == 2
    assert "a store is needed" in err


def test_from_python_a_failure_is_a_command_error(capfd: pytest.CaptureFixture[str]) -> None:
    """With the code; what is printed goes where the caller wants it."""
    from django.core.management import CommandError, call_command

    out, err = io.StringIO(), io.StringIO()
    call_command("batch_cancel", "inspect", stdout=out, stderr=err)
    assert (out.getvalue(), err.getvalue()) == ("no drift: database and scheduler agree\n", "")
    with pytest.raises(CommandError, match="exit code 3") as failure:
        call_command("batch_cancel", "cancel", "job", stdout=out, stderr=err)
    assert failure.value.returncode == 3
    assert "name its organization with --organization" in err.getvalue()
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")
