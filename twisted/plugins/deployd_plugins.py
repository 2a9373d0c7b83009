"""The daemons' names for twistd; this file only names modules (design rule 9)."""

from twisted.application.service import ServiceMaker

registry = ServiceMaker(
    "deployd registry", "deployd.registry.tap", "The port table of a deployd cluster.", "deployd-registry"
)
hub = ServiceMaker("deployd hub", "deployd.hub.tap", "Git, releases and control of a deployd cluster.", "deployd-hub")
drone = ServiceMaker(
    "deployd drone", "deployd.drone.tap", "Runs every release of a deployd cluster on this machine.", "deployd-drone"
)
router = ServiceMaker(
    "deployd router", "deployd.router.tap", "Sends requests to releases of a deployd cluster.", "deployd-router"
)
