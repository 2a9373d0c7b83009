"""What is wrong with the files of a commit: where, and in one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from deployd.model.invalid import Invalid

MAX_FAULTS = 20
_SHOWN = 3


@frozen
class Fault:
    """``line`` 0: it is about the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.text}" if self.line else f"{self.file} {self.text}"


@define
class Faults:
    """Collects the first MAX_FAULTS, so that who mends a file sees more than one of them at a time."""

    found: list[Fault] = field(factory=list)

    def add(self, file: str, line: int, text: str) -> None:
        if len(self.found) < MAX_FAULTS:
            self.found.append(Fault(file, line, text))

    def sorted(self) -> tuple[Fault, ...]:
        """In the order of the files."""
        return tuple(sorted(self.found, key=lambda fault: (fault.file, fault.line)))


class Faulty(Invalid):
    """Files that cannot be used; the message has the first few ``faults``."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(summary(faults))


def summary(faults: Sequence[Fault]) -> str:
    """The first few, as one sentence."""
    sentences = [str(fault) for fault in faults[:_SHOWN]]
    more = len(faults) - len(sentences)
    return "; ".join([*sentences, f"and {more} more"] if more else sentences)
