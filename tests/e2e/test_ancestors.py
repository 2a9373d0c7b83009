"""What the ancestors died of, or did wrong: each fault has a test that shows deployd live and right.

Propagit:

the same commit deployed twice
    test_restarts.py::test_deploying_again_is_a_no_op_that_says_so
wrong secret, deploy
    test_bad_input.py::test_wrong_secrets_are_refused_everywhere_and_the_right_one_still_passes
wrong secret, drone
    test_bad_input.py::test_a_drone_with_a_wrong_secret_says_so_and_ends
push without or with a wrong secret
    test_bad_input.py::test_wrong_secrets_are_refused_everywhere_and_the_right_one_still_passes
unknown repository
    test_bad_input.py::test_unknown_things_are_usage_errors
unknown commit, pushed later
    test_ancestors.py::test_a_commit_that_was_unknown_deploys_once_it_is_pushed
a checkout left half made counts as deployed
    test_faults.py::test_a_checkout_that_a_kill_left_half_made_is_not_taken_for_a_whole_one
a missing command
    test_bad_input.py::test_an_app_that_cannot_run_fails_its_deploy_with_the_reason
a missing command of the drone's own
    test_bad_input.py::test_a_missing_command_of_the_drones_own_is_named
an app that exits at once
    test_bad_input.py::test_an_app_that_cannot_run_fails_its_deploy_with_the_reason
restarts without end, once a second
    test_faults.py::test_an_app_that_falls_again_and_again_is_started_ever_less_often
restarts without end, the delays
    ../planning/test_restarts.py::test_doubles_from_half_a_second_to_a_minute
drone killed, process table lost
    test_restarts.py::test_a_killed_daemon_comes_back_to_what_was
no drone connected
    test_bad_input.py::test_no_drone_is_a_failed_deploy
hub killed and started
    test_restarts.py::test_a_killed_daemon_comes_back_to_what_was
the command hangs while the hub is down
    test_bad_input.py::test_a_hub_or_registry_that_is_down_is_said_at_once
history replaced by force
    ../compat/test_git_clients.py::test_history_is_not_rewritten_and_the_default_branch_stays
x/app and y/app are one repository
    test_ancestors.py::test_apps_of_one_last_name_are_apps_of_their_own
a GET creates a repository
    test_ancestors.py::test_reading_creates_no_app
repository names that lead elsewhere
    test_bad_input.py::test_bad_app_names_are_usage_errors
deploy writes outside of its place
    test_bad_input.py::test_bad_app_names_are_usage_errors
a commit of one app deployed as another's
    test_ancestors.py::test_a_commit_of_one_app_is_none_of_another
a numeric secret is refused everywhere
    test_faults.py::test_a_secret_that_looks_like_a_number_works_everywhere
without a secret everything is open to anyone
    test_faults.py::test_without_a_secret_nobody_on_another_machine_gets_in
the secret in command lines and errors
    test_ancestors.py::test_the_secret_is_in_no_command_line_environment_or_file
an app sees another app's environment
    test_ancestors.py::test_each_app_has_its_own_environment_on_each_drone
DRONE_ID is wrong
    test_ancestors.py::test_each_app_has_its_own_environment_on_each_drone

Propagit's control port:

null before the login ends the hub
    ../integration/test_hostile.py::test_garbage_costs_its_own_connection
null as an argument ends the hub
    ../integration/test_hostile.py::test_garbage_costs_its_own_connection
malformed arguments after the login
    ../integration/test_hostile.py::test_wrong_rows_are_refused_in_a_sentence_and_the_session_goes_on
one TCP reset ends the hub
    ../integration/test_hostile.py::test_a_reset_before_in_and_after_the_login_costs_its_own_connection
1 MB without an end is kept
    ../integration/test_hostile.py::test_a_megabyte_without_an_end_is_not_kept
garbage on every port
    test_bad_input.py::test_garbage_on_every_port_harms_nothing
hundreds of half-open connections stay
    ../integration/test_hostile.py::test_five_hundred_idle_connections_are_borne
nobody drops them
    ../integration/test_deadlines.py::test_who_begins_and_does_not_go_on_is_let_go_at_the_deadline

Seaport:

["register","x"] ends the registry
    ../integration/test_hostile.py::test_garbage_costs_its_own_connection
metadata that is null ends the registry
    ../registry/test_sessions.py::test_null_metadata_and_wrong_types_are_malformed_and_the_registry_lives
a stranger frees or overwrites any service
    test_ancestors.py::test_nobody_changes_the_rows_of_another
registry killed and started
    test_restarts.py::test_a_killed_daemon_comes_back_to_what_was
a killed client's rows
    test_faults.py::test_the_rows_of_a_drone_that_is_gone_or_stands_still_fall_and_come_back_with_it
a stopped client's rows
    test_faults.py::test_the_rows_of_a_drone_that_is_gone_or_stands_still_fall_and_come_back_with_it
a peer without heartbeats is never timed out
    ../integration/test_deadlines.py::test_who_greets_and_falls_silent_is_let_go_at_the_timeout
half lines by the hundred
    ../integration/test_hostile.py::test_five_hundred_idle_connections_are_borne

Bouncy:

all requests of a connection go where its first one went
    test_router.py::test_each_request_of_a_connection_goes_where_its_own_host_says
a dead app's address is in the answer
    test_router_faults.py::test_the_app_gone_is_503_or_502_and_its_port_in_other_hands_is_not_asked
no X-Forwarded-For, or the client's own
    test_router_faults.py::test_what_a_client_says_about_itself_is_dropped
no retry
    ../router/http/test_sending_again.py::test_a_target_that_refuses_is_left_for_another_whatever_the_request
no time limits
    ../router/http/test_deadlines.py::test_an_app_that_hangs_is_given_up
routes are read once
    test_router.py::test_a_request_reaches_the_release_that_its_route_names
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from deployd.errors import NotOwner, PermissionRefused
from deployd.model.registration import Registration
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from deployd.wire.registry import Attach, Publish, Update
from tests.conftest import require
from tests.e2e.apps import HELLO, answering
from tests.e2e.cluster import SECRET, Cluster, get
from tests.integration.strangers import AmpStranger

pytestmark = require("git")

HERE = Path(__file__).parent
ENVIRONMENT = answering('"\\n".join(f"{k}={v}" for k, v in os.environ.items())')


def test_every_test_that_is_named_here_exists() -> None:
    named = re.findall(r"^    (\S+\.py)::(\w+)$", __doc__ or "", re.MULTILINE)
    assert len(named) == (__doc__ or "").count("::")
    for file, function in named:
        tree = ast.parse((HERE / file).read_text())
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in there, f"{file} has no {function}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Registry, hub and two drones for all the tests that leave them as they are."""
    made = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        made.start_core()
        for name in ("d1", "d2"):
            made.start_drone(name, "--", "python3", "http.py")
        yield made
        for daemon in made.daemons.values():
            assert daemon.running
            assert "Traceback" not in daemon.text(), daemon.text()[-3000:]
    finally:
        made.close()


def answers(cluster: Cluster, commit: str) -> list[str]:
    """What the http processes of a commit say."""
    return [get(f"{row['host']}:{row['port']}")[1] for row in cluster.ports()[commit]["http"]]


def test_a_commit_that_was_unknown_deploys_once_it_is_pushed(shared: Cluster) -> None:
    repository = shared.repository("unknown", {"http.py": HELLO})
    repository.push("unknown")
    later = repository.commit({"http.py": HELLO.replace("hello", "later")})
    assert "commit" in shared.run_deployctl("deploy", "unknown", later).stderr
    shared.deployctl("deploy", "unknown", later, code=2)
    repository.push("unknown")
    shared.deployctl("deploy", "unknown", later)
    assert answers(shared, later) == ["later", "later"]


def test_apps_of_one_last_name_are_apps_of_their_own(shared: Cluster) -> None:
    commits = {}
    for app in ("app", "x/app", "y/app"):
        repository = shared.repository(app, {"http.py": answering(repr(app))})
        repository.push(app)
        shared.deployctl("deploy", app, "master")
        commits[app] = repository.head
    assert len(set(commits.values())) == 3
    for app, commit in commits.items():
        assert answers(shared, commit) == [app, app]
    assert set(commits) <= {row["app"] for row in shared.json("apps")}


def test_reading_creates_no_app(shared: Cluster) -> None:
    before = shared.json("apps")
    repository = shared.repository("reader", {"a": "b"})
    for app in ("nosuch", "team/nosuch", "nosuch.git"):
        for service in ("git-upload-pack", "git-receive-pack"):
            get(shared.hub.http, f"/{app}/info/refs?service={service}")
        assert repository.run_git("ls-remote", shared.git_url(app)).returncode != 0
        assert repository.run_git("fetch", shared.git_url(app), "master").returncode != 0
    assert shared.json("apps") == before
    assert not list(shared.hub.state.rglob("*nosuch*"))


def test_a_commit_of_one_app_is_none_of_another(shared: Cluster) -> None:
    """Refused as unknown, by every way to name it, though the drones have its files already."""
    ours = shared.repository("ours", {"http.py": HELLO})
    ours.push("ours")
    shared.deployctl("deploy", "ours", "master")
    theirs = shared.repository("theirs", {"http.py": answering('"theirs"')})
    theirs.push("theirs")
    for name in (ours.head, ours.head[:10]):
        shared.deployctl("deploy", "theirs", name, code=2)
        shared.deployctl("retire", "theirs", name, code=2)
    assert shared.json("releases", "theirs") == []


def test_each_app_has_its_own_environment_on_each_drone(shared: Cluster) -> None:
    for app in ("first", "second"):
        repository = shared.repository(f"env-{app}", {"http.py": ENVIRONMENT, "name": app})
        repository.push(app)
        shared.deployctl("deploy", app, "master")
    instances = {row["id"]: row for row in shared.json("ps") if row["app"] in ("first", "second")}
    assert len(instances) == 4
    for instance in instances.values():
        _, body = get(f"127.0.0.1:{instance['port']}")
        found = dict(line.split("=", 1) for line in body.splitlines())
        assert (found["REPO"], found["DRONE_ID"]) == (instance["app"], instance["drone"])
        assert (found["PROCESS_ID"], found["PORT"]) == (instance["id"], str(instance["port"]))
        other = "second" if instance["app"] == "first" else "first"
        assert other not in body


def test_the_secret_is_in_no_command_line_environment_or_file(shared: Cluster) -> None:
    """It is given to the daemons by DEPLOYD_SECRET; nothing that they start or write shows it."""
    repository = shared.repository("quiet", {"http.py": ENVIRONMENT})
    repository.push("quiet")
    shared.deployctl("deploy", "quiet", "master")
    for body in answers(shared, repository.head):
        assert SECRET not in body
    secret = SECRET.encode()
    for process in psutil.process_iter():
        try:
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        assert secret not in line
        assert quote(SECRET, safe="").encode() not in line
    for daemon in shared.daemons.values():
        files = [path for path in [*daemon.state.rglob("*"), daemon.log] if path.is_file() and not path.is_symlink()]
        assert [path for path in files if secret in path.read_bytes()] == []


def test_nobody_changes_the_rows_of_another(shared: Cluster) -> None:
    """Not without the secret, not with it under another key; and commits are the drones' that the hub accepted."""
    repository = shared.repository("rows", {"http.py": HELLO})
    repository.push("rows")
    shared.deployctl("deploy", "rows", "master")
    table = shared.ports()
    row = shared.json("ports", "rows", "--long")[repository.head]["http"][0]
    theft = Registration(row["id"], repository.head, "http", "6.6.6.6", 6, app="rows")
    with AmpStranger(shared.registry.amp).log_in("read", None) as stranger:
        for command, arguments in (
            (Update, {"put": (theft,), "free": ()}),
            (Update, {"put": (), "free": (row["id"],)}),
        ):
            with pytest.raises(RuntimeError):
                stranger.ask(command, **arguments)
    with AmpStranger(shared.registry.amp).log_in("register", Secret(SECRET), Identity.create()) as impostor:
        impostor.ask(Attach, name="d1", credential=b"", advertise="")
        impostor.ask(Publish, part=0, parts=1, rows=())
        with pytest.raises(NotOwner):
            impostor.ask(Update, put=(), free=(row["id"],))
        for stolen in (theft, Registration("new", repository.head, "http", "6.6.6.6", 6)):
            with pytest.raises((NotOwner, PermissionRefused)):
                impostor.ask(Update, put=(stolen,), free=())
    assert shared.ports() == table
