"""How long to wait before the next attempt: doubling, bounded, with jitter."""

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Backoff:
    """Waits of ``first_s``, twice that, … up to ``most_s``, each spread by ±``jitter``.

    The spread keeps fifty links that died together from knocking together.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    jitter: float = 0.2
    random: Random = field(default_factory=Random)
    failures: int = 0

    def next_s(self) -> float:
        """The wait after one more failure, in seconds."""
        wait = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return wait * self.random.uniform(1 - self.jitter, 1 + self.jitter)

    def reset(self) -> None:
        """It worked: start again from ``first_s``."""
        self.failures = 0
