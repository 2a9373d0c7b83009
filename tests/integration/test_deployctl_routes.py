"""deployctl's routes and upkeep as a process against a scripted hub: sentences, documents, exit codes, questions."""

# ruff: noqa: F811

from __future__ import annotations

import json
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from deployd.errors import Refused, UnknownRoute
from tests.cli.scripted_hub import COMMIT
from tests.integration.test_deployctl import Command, Stage, stage  # noqa: F401

SHARES = [{"release": "v1", "commit": COMMIT, "weight": 3, "ready": 1, "requests": 9, "errors": 0, "p50": 0.01}]
ROUTE = {"host": "shop.example", "path": "/", "app": "webapp", "role": "http", "shares": SHARES, "number": 2}
ENTRY = ROUTE | {"when": 1.0e9, "who": "deployctl@h", "what": "set", "back_to": 0}
UNUSED = [
    {"app": "webapp", "release": "v1", "commit": COMMIT, "goes": True, "reason": "nobody uses it"},
    {"app": "webapp", "release": "v2", "commit": COMMIT, "goes": False, "reason": "shop.example sends requests to it"},
]


@pytest_twisted.ensureDeferred
async def test_a_route_is_set_with_what_was_typed(stage: Stage) -> None:
    stage.hub.routers = 2
    options = ["--sticky", "--preview", "--https", "--force", "--path", "/api/"]
    ran = await stage.ran("route", "set", "Shop.example", "team/webapp:http", "v1=9", "74336bc", *options)
    assert (ran.code, ran.error) == (0, "")
    assert ran.out == "shop.example/api goes to team/webapp:http, v1 90% 74336bc 10% (number 7); 2 routers follow\n"
    (asked,) = stage.hub.asked_for("SetRoute")
    flags = dict.fromkeys(("sticky", "preview", "https", "force"), True)
    where = {"host": "shop.example", "path": "/api", "app": "team/webapp", "role": "http"}
    assert asked == where | flags | {"shares": [["v1", 9], ["74336bc", 1]]}


@pytest_twisted.ensureDeferred
async def test_a_router_that_does_not_follow_is_exit_1_with_its_name(stage: Stage) -> None:
    stage.hub.change(routers=1, held_up=[{"router": "edge1", "reason": "its disk is full"}])
    ran = await stage.ran("rollback", "shop.example", "--timeout", "2", "--json")
    assert ran.code == 1
    assert "edge1: its disk is full" in ran.error
    document = json.loads(ran.out)
    assert (document["number"], document["back_to"]) == (8, 3)
    assert document["waiting"] == [{"router": "edge1", "reason": "its disk is full"}]


@pytest_twisted.ensureDeferred
async def test_every_change_of_a_route_has_its_words(stage: Stage) -> None:
    for words, sentence in (
        (["route", "rm", "shop.example"], "shop.example has no route any more"),
        (["rollback", "shop.example", "--to", "3"], "is back at number 3: webapp:http, v1 100%"),
        (["promote", "shop.example", "v2", "--steps", "10,100", "--every", "5"], "10%, 100%, a step every 5 s"),
        (["pause", "shop.example"], "is paused"),
        (["resume", "shop.example"], "goes on"),
        (["abort", "shop.example"], "is aborted"),
    ):
        ran = await stage.ran(*words)
        assert ran.code == 0, ran
        assert sentence in ran.out
        assert "no router is there yet" in ran.out
    assert stage.hub.asked_for("RollBack")[0]["to"] == 3
    stage.hub.errors = {"RollBack": UnknownRoute("there is no route"), "Promote": Refused("it is below its need")}
    assert (await stage.ran("rollback", "shop.example")).code == 2
    assert (await stage.ran("promote", "shop.example", "v2")).code == 1


@pytest_twisted.ensureDeferred
async def test_routes_and_their_history_are_listed(stage: Stage) -> None:
    stage.hub.lists = {"routes": [ROUTE, ROUTE | {"path": "/api"}], "history": [ENTRY]}
    assert json.loads((await stage.ran("route", "show", "--json")).out) == stage.hub.lists["routes"]
    shown = (await stage.ran("route", "show", "shop.example", "--path", "/api")).out.splitlines()
    assert stage.hub.asked_for("List")[-1]["app"] == "shop.example/api"
    assert len(shown) == 2
    assert shown[1].split()[:5] == ["shop.example", "/api", "webapp:http", "v1", "100%"]
    history = await stage.ran("route", "show", "shop.example", "--history")
    assert "deployctl@h" in history.out
    assert json.loads((await stage.ran("route", "--json", "show", "--history")).out) == [ENTRY]


@pytest_twisted.ensureDeferred
async def test_what_nobody_uses_is_told_and_retired(stage: Stage) -> None:
    stage.hub.lists = {"unused": UNUSED}
    ran = await stage.ran("retire", "--unused", "webapp")
    assert (ran.code, ran.error) == (0, "")
    assert "v1       74336bc  goes   nobody uses it" in ran.out
    assert ran.out.endswith("1 release retired\n")
    document = json.loads((await stage.ran("retire", "--unused", "--dry-run", "--json")).out)
    assert document == {"releases": UNUSED, "dry_run": True, "away": []}
    assert stage.hub.asked_for("RetireUnused")[-1] == {"app": "", "dry_run": True}


@pytest_twisted.ensureDeferred
async def test_on_a_terminal_a_person_is_asked_before_anything_is_retired(stage: Stage) -> None:
    stage.hub.lists = {"unused": UNUSED}
    for answer, code, dry in (("n", 130, True), ("y", 0, False)):
        command = stage.command("retire", "--unused", terminal=True)
        await _until_asked_on(command, "retire 1 release? [y/N]")
        command.transport.write(f"{answer}\n".encode())
        ran = await command.done
        assert ran.code == code, ran
        assert stage.hub.asked_for("RetireUnused")[-1]["dry_run"] == dry
    assert "1 release retired" in ran.out
    forced = await stage.command("retire", "--unused", "--force", terminal=True).done
    assert (forced.code, "[y/N]" in forced.out) == (0, False)


async def _until_asked_on(command: Command, question: str) -> None:
    for _ in range(1000):
        if question in command._out.decode():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(command._out)


@pytest_twisted.ensureDeferred
async def test_pins_policies_and_machines(stage: Stage) -> None:
    pinned = await stage.ran("pin", "webapp", "v1", "--json")
    assert json.loads(pinned.out) == {"app": "webapp", "commit": COMMIT, "release": "v1", "pinned": True}
    assert (await stage.ran("unpin", "webapp", "v1")).out == "webapp v1 (74336bc) is not pinned any more\n"
    assert [asked["pinned"] for asked in stage.hub.asked_for("Pin")] == [True, False]
    policy = await stage.ran("app", "set", "webapp", "keep=3", "drain=")
    assert policy.out.splitlines()[:2] == ["keep=3", "keep-for=0s"]
    assert stage.hub.asked_for("SetPolicy") == [{"app": "webapp", "values": {"keep": "3", "drain": ""}}]
    values: Any = json.loads((await stage.ran("app", "set", "webapp", "keep=3", "--json")).out)
    assert values == {"keep": "3", "keep-for": "0s", "drain": "30s"}
    assert "d1 is empty" in (await stage.ran("drain", "d1")).out
    assert json.loads((await stage.ran("undrain", "d1", "--json")).out) == {"drone": "d1", "state": "used"}
