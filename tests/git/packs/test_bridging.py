"""Two deltas made into one do what the two do."""

from __future__ import annotations

from dulwich.pack import apply_delta
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.bridging import Delta, Step, bridge, delta_bytes, read_delta

BASE = bytes(range(256)) * 600


@st.composite
def deltas(draw: st.DrawFn, base: int) -> Delta:
    """A delta of an object of ``base`` bytes."""
    copies = st.integers(0, base - 1).flatmap(lambda at: st.tuples(st.just(at), st.integers(1, base - at)))
    steps: list[Step] = draw(st.lists(copies | st.binary(min_size=1, max_size=300), min_size=1, max_size=6))
    return Delta(base, sum(len(step) if isinstance(step, bytes) else step[1] for step in steps), steps)


class BridgeTests(SynchronousTestCase):
    """Of random deltas."""

    @given(st.data())
    def test_a_bridge(self, data: st.DataObject) -> None:
        """What it makes of the base is what they make, one after the other."""
        lower = data.draw(deltas(len(BASE)))
        upper = data.draw(deltas(lower.size))
        middle = b"".join(apply_delta(BASE, delta_bytes(lower)))
        whole = b"".join(apply_delta(middle, delta_bytes(upper)))
        both = bridge(read_delta(delta_bytes(upper)), read_delta(delta_bytes(lower)))
        self.assertEqual(b"".join(apply_delta(BASE, delta_bytes(both))), whole)
        self.assertEqual((both.base, both.size), (len(BASE), len(whole)))
