"""What the label canvas's harness keeps: one module, so that its routes and its script share it."""

from datetime import UTC, datetime

IMAGES = ("one", "two", "three")


class Memory:
    """The server's side of the protocol, in one process."""

    def __init__(self) -> None:
        self.generation = 0
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget all labels and come up again, with new image ids."""
        self.generation += 1
        self.is_down = False
        self.is_expired = False
        self.refusal: int | None = None
        self.puts = 0
        self.script_runs = 0
        self.saved = {name: {"rev": 0, "annotations": [], "state": "unlabelled"} for name in IMAGES}
        self.events: list[dict[str, object]] = []

    def put(self, name: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        """Keep labels, or say who was first."""
        current = self.saved[name]
        if body["rev"] != current["rev"]:
            return 409, {**current, "message": "Somebody else saved first."}
        self.saved[name] = {
            "rev": current["rev"] + 1,
            "annotations": body["annotations"],
            "state": body["state"],
            "note": body.get("note", ""),
            "author": "me",
            "saved_at": datetime.now(UTC).isoformat(),
        }
        return 200, {**self.saved[name], "annotations_count": len(body["annotations"])}


STORE = Memory()
