"""A git worker without a process: does one job at once, where it is called."""

from __future__ import annotations

import json

from deployd.git.work import faults
from deployd.git.work.jobs import JOBS
from deployd.git.work.orders import Answer, Order
from deployd.git.work.tasks import Shelf, Task


def run_here(order: Order) -> Answer:
    """Do ``order``, whose arguments and answer go through JSON as they do between processes; raise what ``Pool`` does.

    What a job has to say before its end is told to nobody.
    """
    task = Task(json.loads(json.dumps(order.arguments)), order.body, order.file, Shelf(), lambda _: None)
    try:
        document, body = JOBS[order.name](task)
    except Exception as error:
        raise faults.read(json.loads(json.dumps(faults.written(error)))) from error
    return Answer(json.loads(json.dumps(document)), body)
