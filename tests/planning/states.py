"""Hypothesis strategies for desired states and for what drones see."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve
from hypothesis import strategies as st

from deployd.model.deployd_toml import RELEASE
from deployd.model.desired import Changes, Desired, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.instance import ObservedInstance, State, instance_id
from deployd.model.release import Hook, Need, Release, ReleaseState, Selector
from deployd.model.revision import Revision
from deployd.model.role import BuildStep, RoleCommand, RoleSettings, StopRule, role_has_port
from deployd.model.route import Route
from deployd.planning.history import rollback_target

APPS = ("team/webapp", "webapp")
NAMES = ("d1", "d2", "d3")
ROLES = ("http", "say", "worker")
LABELS = ({}, {"region": "eu"}, {"region": "us", "kind": "web"})

EXTRAS = ("e1", "e2")
PLAIN = RoleSettings()
PATIENT = RoleSettings(stop=StopRule("INT", 60.0))


@st.composite
def roles(draw: st.DrawFn) -> tuple[RoleCommand, ...]:
    return tuple(
        RoleCommand(
            role, ("run", role), role_has_port(role), draw(st.integers(1, 3)), draw(st.sampled_from([PLAIN, PATIENT]))
        )
        for role in draw(st.lists(st.sampled_from(ROLES), unique=True, min_size=1))
    )


hooks = st.builds(
    lambda name, done: Hook(RoleCommand(RELEASE, ("migrate",), False), name, f"owner of {name}" if name else "", done),
    st.sampled_from(["", *NAMES]),
    st.booleans(),
)
selectors = st.builds(
    Selector,
    every=st.booleans(),
    names=st.frozensets(st.sampled_from(NAMES)),
    where=st.sampled_from([(), ((("region", "eu"),),), ((("kind", "web"), ("region", "us")),)]),
)
needs = st.sampled_from(["all", "1", "2", "50%", "100%"]).map(Need)


@st.composite
def drones(draw: st.DrawFn, name: str) -> KnownDrone:
    description = DroneDescription(
        name=name,
        owner=f"owner of {name}",
        labels=draw(st.sampled_from(LABELS)),
        command=draw(st.sampled_from([(), ("serve",)])),
        role=draw(st.sampled_from(ROLES)),
        roles=draw(st.sampled_from([(), ("http",), ("say", "worker"), ("other",)])),
        apps=draw(st.sampled_from([(), ("webapp",)])),
    )
    return KnownDrone(description, "192.0.2.1")


@st.composite
def releases(draw: st.DrawFn, app: str, number: int) -> Release:
    state = draw(st.sampled_from(ReleaseState))
    hook = draw(st.none() | hooks)
    if hook is not None and state is ReleaseState.DEPLOYED:
        hook = evolve(hook, done=True)
    return Release(
        app=app,
        number=number,
        commit=f"{number:040x}",
        state=state,
        created=0.0,
        selector=draw(selectors),
        need=draw(needs),
        roles=draw(st.none() | roles()),
        attempt=draw(st.integers(0, 2)),
        settings=draw(st.sampled_from([(), (RoleCommand("http", (), False, settings=PATIENT),)])),
        build=draw(st.sampled_from([(), (BuildStep("make"),)])),
        hook=hook,
        config=draw(st.integers(0, 1)),
    )


@st.composite
def extras(draw: st.DrawFn, name: str, release: Release) -> Extra:
    role = draw(st.sampled_from(ROLES))
    on = draw(st.frozensets(st.sampled_from(NAMES)))
    return Extra(name, release.app, release.number, role, ("run", "more"), role_has_port(role), on)


@st.composite
def desired(draw: st.DrawFn) -> Desired:
    """Up to three drones, six releases and two extras, with orders to some instances that there could be."""
    known = tuple(draw(drones(name)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True)))
    keys = draw(st.lists(st.tuples(st.sampled_from(APPS), st.integers(1, 3)), unique=True, max_size=6))
    made = tuple(draw(releases(app, number)) for app, number in keys)
    possible = [
        Order(
            instance_id(drone.owner, release.app, release.name, release.commit, role, index),
            release.app,
            release.name,
            stopped,
            restarts,
        )
        for drone in known
        for release in made
        for role, index in (("http", 0), ("say", 0), ("worker", 0), ("worker", 1), (RELEASE, 0))
        for stopped, restarts in draw(st.sampled_from([(), ((True, 0),), ((False, 2),), ((True, 1),)]))
    ]
    more = tuple(
        draw(extras(name, draw(st.sampled_from(made))))
        for name in (draw(st.lists(st.sampled_from(EXTRAS), unique=True)) if made else ())
    )
    return Desired().after(Changes(drones=known, releases=made, orders=tuple(possible), extras=more))


saved_states = st.builds(
    lambda state, apps: state.after(Changes(apps=apps)), desired(), st.sampled_from([(), ("webapp", "team/webapp")])
)


@st.composite
def observed(draw: st.DrawFn, state: Desired, drone: KnownDrone) -> dict[str, ObservedInstance]:
    """What ``drone`` may report: any instances of its own, in any state, those of unknown releases too."""
    found = {}
    roles = st.sampled_from([*((role, index) for role in ROLES for index in range(3)), (RELEASE, 0)])
    for app, number, (role, index), extra in draw(
        st.lists(
            st.tuples(st.sampled_from(APPS), st.integers(1, 4), roles, st.sampled_from(["", "", *EXTRAS])),
            unique=True,
            max_size=8,
        )
    ):
        id = instance_id(drone.owner, app, f"v{number}", f"{number:040x}", role, 0 if extra else index, extra)
        found[id] = ObservedInstance(
            id,
            app,
            f"v{number}",
            f"{number:040x}",
            role,
            draw(st.sampled_from([each for each in State if each is not State.AWAY])),
            port=draw(st.sampled_from([0, 20000])),
            generation=draw(st.integers(0, 3)),
            failures=draw(st.integers(0, 5)),
            fatal=draw(st.booleans()),
            deregistered=draw(st.sampled_from([None, Revision("registry", 1)])),
        )
    return found


def rollback_keeps(routes: Iterable[Route]) -> set[tuple[str, str]]:
    """Every release (app and name) that one rollback of a route would need."""
    targets = [target.setting for route in routes if (target := rollback_target(route)) is not None]
    return {(setting.app, release) for setting in targets for release in setting.weighted}
