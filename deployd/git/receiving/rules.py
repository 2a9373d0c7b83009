"""What a push may do to the branches of one app, as its policy says; a refusal names the setting."""

from __future__ import annotations

from attrs import field, frozen

from deployd.model.branches import is_named, with_name
from deployd.model.policy import Policy


@frozen
class PushRules:
    """``app`` is its name, for the sentences."""

    app: str = "APP"
    policy: Policy = field(factory=Policy)

    def forcing(self, ref: str) -> str:
        """Why the branch ``ref`` may not be rewritten, or ""."""
        setting = self.policy.allow_force
        if is_named(setting, ref):
            return ""
        return f"non-fast-forward; `deployctl app set {self.app} allow-force={with_name(setting, ref)}` allows it"

    def deleting(self, ref: str) -> str:
        """Why ``ref`` may not be deleted, or ""."""
        setting = self.policy.allow_delete
        if is_named(setting, ref):
            return ""
        return f"deletion refused; `deployctl app set {self.app} allow-delete={with_name(setting, ref)}` allows it"
