"""deployctl in this process, for what ends before a reactor is needed."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from attrs import frozen

from deployd.cli.main import run


@frozen
class Ran:
    code: int
    out: str
    error: str


def deployctl(*arguments: str) -> Ran:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as error:
        code = run(arguments)
    return Ran(code, out.getvalue(), error.getvalue())
