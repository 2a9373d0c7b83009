"""Metadata that is let through without a closer look is what the closer look lets through."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.registration import MAX_META_BYTES, Registration, _check_meta, checked, meta_bytes

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet="\U0001f600\ud800é", min_size=20, max_size=400),
    st.lists(st.integers()),
    st.dictionaries(st.integers(), st.integers(), max_size=1),
)
METAS = st.dictionaries(st.one_of(st.text(), st.integers()), VALUES, max_size=40)


class RowMeta(SynchronousTestCase):
    @given(METAS)
    def test_a_quick_look_lets_nothing_through_that_a_close_one_refuses(self, meta: dict[str, Any]) -> None:
        row = Registration("id", "namespace", "role", "", 1, meta=meta)
        try:
            checked(row)
        except Invalid:
            self.assertRaises(Invalid, _check_meta, row)
        else:
            _check_meta(row)
            self.assertLessEqual(meta_bytes(row), MAX_META_BYTES)
