"""Divides between clients what there is little of: connections, bytes, places to wait."""

# How many times what is left one client may hold: alone it gets four fifths of all.
_TIMES_LEFT = 4


class Shares:
    """A client may take until it holds more than a multiple of what it leaves to others.

    Those are the dynamic thresholds of Choudhury and Hahne (IEEE/ACM Transactions on Networking 6, 1998): what one
    client takes shrinks as others come, and something is always left for the next.
    """

    def __init__(self, total: int) -> None:
        self.left = total
        self._held: dict[str | None, int] = {}

    def take(self, client: str | None, amount: int = 1) -> bool:
        """False if that is more than the client may have now. None stands for many clients, who share what is left."""
        held = self._held.get(client, 0) + amount
        if amount > self.left or (client is not None and held > _TIMES_LEFT * self.left):
            return False
        self._held[client] = held
        self.left -= amount
        return True

    def give_back(self, client: str | None, amount: int = 1) -> None:
        self.left += amount
        self._held[client] -= amount
        if not self._held[client]:
            del self._held[client]
