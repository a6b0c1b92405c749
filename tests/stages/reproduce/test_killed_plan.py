"""A plan that was killed anywhere ends as one that nothing disturbed."""

import pytest
from killing import KilledError, calls_of, described, dying_at
from toy_plans import plan_for, results_of

from emds.stages.reproduce.command import reproduce

RECIPES = ("dn_only", "sequential")


def outcome(plan):
    folders = {task.system: plan.place.run_folder(task.system) for task in plan.tasks}
    trained = {
        system.recipe: [described(folder / name) for name in ("best.pt", "last.pt")]
        for system, folder in folders.items()
    }
    files = sorted(
        path.relative_to(plan.place.out).as_posix()
        for path in plan.place.out.rglob("*")
        if path.is_file() and "data" not in path.relative_to(plan.place.out).parts
    )
    # A checkpoint knows where the one it started from lay.
    return results_of(plan.place.out), trained["dn_only"], files


@pytest.mark.slow
def test_a_plan_that_is_killed_anywhere_and_repeated_is_the_undisturbed_one(data):
    whole = plan_for(data, "whole", recipes=RECIPES)
    calls = calls_of(lambda: reproduce(whole))
    expected = outcome(whole)
    assert calls > 100
    for call in range(0, calls, calls // 20):
        plan = plan_for(data, f"at-{call}", recipes=RECIPES)
        with pytest.raises(KilledError), dying_at(call):
            reproduce(plan)
        reproduce(plan)
        assert outcome(plan) == expected, call
