"""Limits on what a page may ask of the server, and the rate that messages may come at."""

from dataclasses import dataclass

from roboscape.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server; every one has an end that the player is informed of."""

    worlds: int = 8
    """Players at once; further ones are refused until a world is free."""
    idle_s: float = 900.0
    """Seconds without a message after which a world is freed."""
    away_s: float = 60.0
    """Seconds for which the world of a closed page is kept, so that it can be loaded again."""
    frames: int = 1000
    """Frames of a world's history, all futures together; the oldest are dropped."""
    message_bytes: int = 512 * 1024
    """Size of the largest message; an uploaded image is the largest."""
    messages_hz: float = 60.0
    """Messages a second and player, lasting."""
    messages_burst: int = 120
    """Messages of a player at once."""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing can be played."""
        for name, least in (("worlds", 1), ("frames", 64), ("messages_burst", 1)):
            if getattr(self, name) < least:
                raise UserError(f"expected {name} of {least} or more, got {getattr(self, name)}")
        for name in ("idle_s", "away_s", "messages_hz", "message_bytes"):
            if getattr(self, name) <= 0:
                raise UserError(f"expected {name} above 0, got {getattr(self, name)}")


DEFAULT_LIMITS = Limits()
"""For a handful of people on one machine."""


class RateLimit:
    """A bucket of tokens: `burst` at once, `rate_hz` in the long run."""

    def __init__(self, *, rate_hz: float, burst: int, now_s: float) -> None:
        self._rate_hz, self._burst = rate_hz, burst
        self._tokens, self._filled_s = float(burst), now_s
        self.refused = 0
        """Requests in a row that were one too many."""

    def allows(self, now_s: float) -> bool:
        """True if one more request is within the rate; it then counts."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate_hz)
        self._filled_s = now_s
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.refused = 0
        return True
