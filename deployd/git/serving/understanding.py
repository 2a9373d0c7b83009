"""From the bytes of one request to everything that is said before a pack, and the recipe of the pack, if one follows.

This is cheap whatever the repository's size: nothing but commits, refs and the request itself is looked at.
"""

from __future__ import annotations

from attrs import frozen

from deployd.git import pktlines
from deployd.git.packs.objects import Objects
from deployd.git.problems import BadRequest, NotOurs
from deployd.git.serving.cutting import cut_history
from deployd.git.serving.listing import RefQuery, list_refs
from deployd.git.serving.negotiating import negotiate, negotiate_once
from deployd.git.serving.offers import Offer, Offers
from deployd.git.serving.recipes import Recipe, write_recipe
from deployd.git.serving.request import FetchRequest, parse, parse_arguments, parse_command
from deployd.git.serving.wanting import find_wanted


@frozen
class Understood:
    """``reply`` is the whole answer, or, with a ``recipe``, what comes before its pack in side-band-64k and a flush.

    ``quiet``: the reader wants no remarks on the pack. ``refusal``: why it gets nothing, as ``reply`` tells it.
    """

    reply: bytes
    recipe: Recipe | None = None
    quiet: bool = False
    refusal: str = ""


def understand(objects: Objects, offers: Offers, body: bytes, version: int, deployed: bool) -> Understood:
    """Answer one request of protocol ``version`` (1 is as 0); ``deployed``: the reader may see what was deployed.

    Raise BadRequest for what is not git's protocol.
    """
    # The refs first: then the packs that they need can be seen, too.
    offer = offers.now(deployed)
    objects.refresh()
    try:
        return _answer_command(objects, offer, body) if version >= 2 else _answer(objects, offer, body)
    except NotOurs as refusal:
        return Understood(pktlines.line(b"ERR " + str(refusal).encode()), refusal=str(refusal))


def _answer(objects: Objects, offer: Offer, body: bytes) -> Understood:
    request = parse(body)
    if not request.wants:
        return Understood(b"")
    wanted = find_wanted(objects, offer, request.wants)
    cut = cut_history(objects, offer, request, wanted.commits)
    before = cut.lines + pktlines.FLUSH if request.deepens else b""
    if not request.asks:
        return Understood(before)
    agreed = negotiate(objects.graph, request, wanted.commits, cut.at)
    if not agreed.sends:
        return Understood(before + agreed.reply)
    recipe = write_recipe(objects, offer, request, wanted, agreed.commons, cut)
    return Understood(before + agreed.reply, recipe, _quiet(request))


def _answer_command(objects: Objects, offer: Offer, body: bytes) -> Understood:
    command, arguments = parse_command(body)
    if command == b"ls-refs":
        return Understood(list_refs(offer, RefQuery.parse(arguments)))
    if command == b"fetch":
        return _fetch(objects, offer, parse_arguments(arguments))
    if command:
        raise BadRequest("the request has a command that the hub does not have")
    return Understood(b"")


def _fetch(objects: Objects, offer: Offer, request: FetchRequest) -> Understood:
    wanted = find_wanted(objects, offer, request.wants)
    agreed = negotiate_once(objects.graph, request, wanted.commits)
    if not agreed.sends:
        return Understood(agreed.reply)
    cut = cut_history(objects, offer, request, wanted.commits)
    section = pktlines.line(b"shallow-info\n") + cut.lines + pktlines.DELIMITER if request.deepens else b""
    recipe = write_recipe(objects, offer, request, wanted, agreed.commons, cut)
    return Understood(agreed.reply + section + pktlines.line(b"packfile\n"), recipe, _quiet(request))


def _quiet(request: FetchRequest) -> bool:
    return b"no-progress" in request.options
