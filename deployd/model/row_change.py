"""One change of one row of the port table."""

from __future__ import annotations

from attrs import frozen

from deployd.model.registration import Registration


@frozen
class RowChange:
    """``row`` was put, or it is what was ``freed``; the table's revision then went from ``number`` - 1 to ``number``.

    With ``more`` the next change was made together with this one: between them the table is not as anybody wanted it.
    Of a row that was put, ``number`` is also its ``revision``.
    """

    number: int
    row: Registration
    freed: bool = False
    more: bool = False
