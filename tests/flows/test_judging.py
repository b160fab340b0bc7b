"""What of a look somebody has to see to, and how long it may last before somebody is called."""

from __future__ import annotations

import pytest

from penstock.flows.answers.health import ANSWER, Health
from penstock.flows.answers.recovery import Recovery, StoreStatus
from penstock.flows.metrics.judging import LASTING, Limits, problems
from penstock.flows.metrics.look import Look, Problem, ReplicaLook, StoreLook

DAY = 86_400.0
LIMITS = Limits(ship_behind=1_800.0, snapshot_age=2 * DAY, drill_age=2 * DAY, since=30 * DAY)
WELL = StoreLook(True, 0.0, 0, 0, snapshot_age=DAY, snapshots_known=True, drill_age=DAY, passed_age=DAY, drill="passed")


def judged(
    look: Look, health: Health | None = None, recovery: Recovery | None = None, fault: str = ""
) -> list[Problem]:
    return list(problems(look, health or Health(), recovery or Recovery(), LIMITS, fault))


def test_a_look_that_finds_nothing_wrong_has_no_problem() -> None:
    """Also with a DR store that is a little behind."""
    look = Look("/h", 0.0, version=3, replicas={"0": ReplicaLook(True, 3)}, stores={"dr": WELL})
    status = StoreStatus("dr", True, 2, 1, 100, 60.0)
    assert judged(look, recovery=Recovery([status])) == []


def test_the_worst_comes_first() -> None:
    """What cannot be read, what cannot be written, then copies, then ages."""
    look = Look(
        "/h", 0.0, version=3, replicas={"0": ReplicaLook(False, 3, problem="gone")}, held={"docs": "rolled back"}
    )
    kinds = [each.kind for each in judged(look, Health(misconfigured="three replicas, not two"), fault="no good copy")]
    assert kinds == ["index", "writing", "replica", "held"]


@pytest.mark.parametrize(
    ("health", "patience"),
    [
        (Health(obstacles=["no answer"], fix=ANSWER), LASTING),
        (Health(obstacles=["replica 1 is another index's"]), 0.0),
        (Health(recovers="the catalog is gone"), 0.0),
    ],
)
def test_a_catalog_that_does_not_answer_may_do_so_for_a_while(health: Health, patience: float) -> None:
    """A server that starts anew pages nobody; what only a person can mend does at once."""
    (found,) = judged(Look("/h", 0.0), health)
    assert (found.kind, found.patience) == ("writing", patience)


def test_a_replica_that_lacks_something_may_do_so_for_a_while() -> None:
    """The next commit brings it in step; one that is gone is another matter, unless it was only late."""
    lacks = Look("/h", 0.0, version=3, replicas={"0": ReplicaLook(True, 2, 500)})
    assert [(each.kind, each.patience) for each in judged(lacks)] == [("replication", LASTING)]
    gone = Look("/h", 0.0, replicas={"0": ReplicaLook(False, 2, 500, "gone")})
    assert [(each.kind, each.patience) for each in judged(gone)] == [("replica", 0.0)]
    late = Look("/h", 0.0, replicas=gone.replicas, late=("replica 0",))
    assert [(each.kind, each.patience) for each in judged(late)] == [("replica", LASTING)]


def test_a_store_is_a_problem_when_it_is_behind_or_cannot_be_shipped_to() -> None:
    """Behind beyond the limit, at once; one that does not answer, when it could have been so far behind."""
    behind = Look("/h", 0.0, stores={"dr": StoreLook(True, 3_600.0, 5, 100, 0.0, True, 0.0, 0.0, "passed")})
    (found,) = judged(behind, recovery=Recovery([StoreStatus("dr", True, 1, 5, 100, 3_600.0)]))
    assert (found.kind, found.patience, found.step) == ("ship", 0.0, "penstock ship")
    away = Look("/h", 0.0, stores={"dr": StoreLook(False, passed_age=0.0, drill="passed")})
    (found,) = judged(away, recovery=Recovery([StoreStatus("dr", False, problem="no answer")]))
    assert (found.kind, found.patience) == ("store", LIMITS.ship_behind)


def test_a_store_that_is_away_is_a_problem_in_a_young_home_too() -> None:
    """Said at once; somebody is called when it lasts. Where nothing was committed there is nothing to ship."""
    young = Limits(1_800.0, 2 * DAY, 2 * DAY, since=60.0)
    recovery = Recovery([StoreStatus("dr", False, problem="nothing was shipped there yet")])
    (found,) = problems(Look("/h", 0.0, version=1, stores={"dr": StoreLook(False)}), None, recovery, young, "")
    assert (found.kind, found.patience) == ("store", 1_800.0)
    assert problems(Look("/h", 0.0, version=0, stores={"dr": StoreLook(False)}), None, recovery, young, "") == ()


def test_a_drill_that_failed_does_not_make_the_last_good_one_younger() -> None:
    """Both are said: that it failed, and how long ago one passed."""
    store = StoreLook(True, 0.0, 0, 0, DAY, True, drill_age=60.0, passed_age=9 * DAY, drill="failed")
    found = judged(Look("/h", 0.0, stores={"dr": store}))
    assert [each.kind for each in found] == ["drill"] and "216 h" in found[0].said


def test_a_young_home_needs_no_snapshot_yet() -> None:
    """It could not have one."""
    look = Look("/h", 0.0, stores={"dr": StoreLook(True, 0.0, 0, 0, snapshots_known=True)})
    young = Limits(1_800.0, 2 * DAY, 2 * DAY, since=3_600.0)
    assert problems(look, None, Recovery(), young, "") == ()
    assert {each.kind for each in judged(look)} == {"snapshot", "drill"}


def test_what_a_store_did_not_say_is_no_claim() -> None:
    """That nobody knows its snapshots does not mean that there are none."""
    look = Look("/h", 0.0, stores={"dr": StoreLook(True, passed_age=0.0, drill="passed")})
    assert judged(look) == []
