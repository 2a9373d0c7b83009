"""What the ancestors died of, or did wrong: each fault has a test that shows deployd live and right. And what seaport
could do: each feature has a test of its counterpart.

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
half lines by the hundred, of every protocol
    ../integration/test_registry_faults.py::test_a_flood_of_those_who_say_nothing_or_half_a_word
no persistence
    ../integration/test_registry_faults.py::test_what_was_acknowledged_is_there_after_each_kill
a client killed is freed at once, but also by a mere lost link
    ../integration/test_registry.py::test_a_killed_owner_is_marked_at_once_and_its_next_life_takes_over
keys are ignored, --meta.K=V and watch end in a TypeError
    test_ancestors.py::test_what_seaports_commands_did_or_were_meant_to

Seaport, features (2.0.9; 0.3.1 where it says so):

listen PORT, --port
    test_registry_daemon.py::test_twistd_in_the_foreground_says_where_it_listens_and_ends_orderly
listen PORT KEY.json
    ../registry/test_grants.py::test_seaports_listen_with_keys_ignored_them_here_an_authorized_key_registers_and_no_other
--heartbeat, --timeout
    ../registry/test_options.py::test_the_defaults
    ../integration/test_deadlines.py::test_who_greets_and_falls_silent_is_let_go_at_the_timeout
show
    ../integration/test_deployctl.py::test_ports_are_exactly_the_walk_throughs_and_need_no_secret
query PATTERN FIELD..
    test_ancestors.py::test_what_seaports_commands_did_or_were_meant_to
query hangs for ever where the server is down
    test_bad_input.py::test_a_hub_or_registry_that_is_down_is_said_at_once
    ../cli/test_query.py::test_a_registry_that_is_down_is_not_waited_for
watch, -v
    test_ancestors.py::test_what_seaports_commands_did_or_were_meant_to
    ../cli/test_watch.py::test_verbosely_with_the_rest_of_the_row
register NAME@VER -- CMD
    test_register.py::test_a_service_of_ones_own
CMD has the port as its last argument
    test_ancestors.py::test_what_seaports_commands_did_or_were_meant_to
CMD is restarted
    ../cli/test_register.py::test_one_that_ends_again_and_again_is_started_less_and_less
register --key
    ../integration/test_registry_keys.py::test_a_key_registers_and_reads_until_it_is_taken_away
register --meta
    test_ancestors.py::test_what_seaports_commands_did_or_were_meant_to
--version, -h
    ../cli/test_main.py::test_the_version_is_printed_before_and_after_a_verb
    ../cli/test_main.py::test_help_has_a_short_name
seaport(opts), connect, retries
    ../client/test_registry_client.py::test_what_is_asked_before_it_is_started_waits
    ../client/test_registry_client.py::test_get_waits_for_a_match_over_lost_links_and_other_registries
seaport(env) and its environments are namespaces (0.3.1)
    ../client/test_registry_client.py::test_a_row_is_given_as_the_registry_has_it
round-robin over several registries: several addresses, the first that answers
    ../net/test_choices.py::test_a_link_goes_from_one_to_the_next_and_back
createServer, listen, address
    test_registry_daemon.py::test_twist
secret (0.3.1), private, public
    ../registry/test_sessions.py::test_an_owner_needs_a_key_and_the_secret
    ../registry/test_grants.py::test_reading_needs_the_secret_or_an_authorized_key
range, also of a host
    ../cli/test_register.py::test_a_range_of_ports
authorized, authorize(key), accept, reject
    ../registry/test_grants.py::test_seaports_authorized_did_not_exist_here_a_key_is_authorized_while_the_registry_runs
createStream, JSON lines: server-sent events
    ../registry/test_web_watch.py::test_begins_with_the_table_and_goes_on_with_its_changes
allocate, ready (0.3.1)
    ../processes/test_ports.py::test_skips_what_another_program_listens_on
    ../cli/test_register.py::test_a_program_is_registered_once_it_listens
assume, again after a reconnect (0.3.1)
    ../client/test_registry_client.py::test_rows_go_along_to_the_next_registry
register, registerMeta
    ../client/test_registry_client.py::test_a_row_is_given_as_the_registry_has_it
query by pattern, by every key of a meta
    ../client/test_registry_client.py::test_rows_are_found_by_range_and_metadata
get
    ../client/test_registry_client.py::test_get_waits_for_a_match_over_lost_links_and_other_registries
set
    ../client/test_registry_client.py::test_port_and_metadata_may_change
free, close
    ../client/test_registry_client.py::test_what_is_not_ours_cannot_be_changed
    ../client/test_registry_client.py::test_an_orderly_stop_frees_the_rows
events register, free, synced
    ../client/test_registry_client.py::test_it_begins_with_a_reset_and_goes_on_with_each_change
events connect, disconnect, close, timeout, address
    ../client/test_registry_client.py::test_an_orderly_stop_frees_the_rows
events listening, connection, endpoint, stream, protocol: the registry's log and its figures
    ../registry/test_web_targets.py::test_are_all_that_the_registry_counts
peer(..), a mesh of registries: none; one registry with a durable table

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
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
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
from tests.e2e.cluster import BIN, SECRET, Cluster, get
from tests.e2e.waiting import until
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
        if Path(line.split(b"\0")[0].decode(errors="replace")).name.startswith("git"):
            # Who pushes may have it in the URL, as tests do that run beside this one; deployd starts no git.
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


ECHO = """
import http.server, sys

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(repr(sys.argv[1:]).encode())

http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Echo).serve_forever()
"""


def test_what_seaports_commands_did_or_were_meant_to(shared: Cluster) -> None:
    """register with --key, --meta of either kind and the port as the last argument; query with fields; watch -v."""
    program = shared.directory / "echo.py"
    program.write_text(ECHO)
    key = shared.directory / "echo.key"
    options = ("echo@1.2.3", "--meta", "zone=eu", "--meta-json", '{"deep": {"er": [1]}}', "--port-argument")
    watched = shared.directory / "watched"
    with ExitStack() as ended, watched.open("w") as out:
        for arguments, output in (
            (("watch", "echo@^1", "-v"), out),
            (("register", *options, "--key", str(key), "--", "python3", str(program), "one"), subprocess.DEVNULL),
        ):
            command = [str(BIN / "deployctl"), *arguments]
            process = subprocess.Popen(command, env=shared.deployctl_environment(), stdout=output, stderr=output)
            ended.callback(process.wait)
            ended.callback(process.terminate)
        fields = ("--field", "host,port,meta.zone,meta.deep")
        (line,) = shared.deployctl("query", "echo@^1.2", "--meta", "zone=eu", "--wait", "20", *fields).splitlines()
        host, port, *rest = line.split("\t")
        assert rest == ["eu", '{"er": [1]}']
        assert get(f"{host}:{port}") == (200, repr(["one", port]))
        assert json.loads(shared.deployctl("query", "echo@^2", "--json")) == []
        assert shared.ports()["default"]["echo"] == [{"host": host, "port": int(port)}]
        process.terminate()
        until(lambda: "\ndelete " in watched.read_text(), "the watcher knows")
    (first, put, delete) = watched.read_text().splitlines()[:3]
    assert first.startswith("reset ")
    for line, kind in ((put, "put"), (delete, "delete")):
        assert line.startswith(f"{kind} echo@1.2.3 {host}:{port} default")
        assert "zone" in line
    assert shared.deployctl("query", "echo") == shared.deployctl("query", "nothing")
