"""Rows as JSON by hand are what cattrs would make of them (deployd.wire.rows, Note [Rows by hand])."""

from __future__ import annotations

from typing import Any

from cattrs import Converter
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Malformed
from deployd.model.registration import Registration
from deployd.testing.strategies import values
from deployd.wire.codec import from_json, to_json

FIELDS = list(Registration.__annotations__)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just({"k": 1}),
)


def strict() -> Converter:
    """cattrs, which refuses a wrong JSON type, as the codec has it for all other classes."""
    converter = Converter()

    def check(value: Any, kind: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(kind)
        return value

    for kind in (str, int):
        converter.register_structure_hook(kind, check)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, Any], lambda value, _: check(value, dict))
    return converter


CONVERTER = strict()


def by_cattrs(said: Any) -> Registration | None:
    try:
        return CONVERTER.structure(said, Registration)
    except Exception:  # groups of anything
        return None


def by_hand(said: Any) -> Registration | None:
    try:
        row: Registration = from_json(said, Registration)
    except Malformed:
        return None
    return row


class Rows(SynchronousTestCase):
    @given(values(Registration))
    def test_a_row_is_written_as_cattrs_writes_it(self, row: Registration) -> None:
        self.assertEqual(to_json(row), CONVERTER.unstructure(row))

    @given(
        values(Registration),
        st.dictionaries(st.sampled_from([*FIELDS, "marked"]), ANYTHING),
        st.sets(st.sampled_from(FIELDS)),
    )
    def test_a_row_is_read_as_cattrs_reads_it(self, row: Registration, more: dict[str, Any], less: set[str]) -> None:
        said = {key: value for key, value in (to_json(row) | more).items() if key not in less}
        self.assertEqual(by_hand(said), by_cattrs(said))
        self.assertEqual(by_hand(to_json(row)), row)

    @given(ANYTHING)
    def test_what_is_no_object_is_no_row(self, said: Any) -> None:
        self.assertIsNone(by_hand(said))
