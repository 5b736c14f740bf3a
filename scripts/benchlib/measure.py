"""Samples, their statistics, and the bars they are held against. Pure: nothing is measured here."""

import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a variant promises: its value, or its ratio to the variant `against`, is at most or at
    least a number. `goal` is what one would like to see beyond that; missing it is no failure."""

    variant: str
    against: str = None
    at_most: float = None
    at_least: float = None
    goal: float = None

    def __post_init__(self):
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a bar has one of at_most and at_least")

    @property
    def limit(self):
        return self.at_least if self.at_most is None else self.at_most

    def reached_by(self, value, limit=None):
        limit = self.limit if limit is None else limit
        return value >= limit if self.at_most is None else value <= limit


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, least and greatest of what the rounds gave. Of MANY rounds or more: not the extremes, which
    then say nothing, but between what the median lies with 95 % confidence (by order statistics)."""

    MANY = 40

    median: float
    least: float
    most: float
    is_interval: bool = False  # MANY rounds

    @classmethod
    def of(cls, values):
        least, most = 0, len(values) - 1
        many = len(values) >= cls.MANY
        if many:
            reach = 0.98 * math.sqrt(len(values))
            least, most = math.floor(most / 2 - reach), math.ceil(most / 2 + reach)
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[least], ordered[most], many)


@dataclasses.dataclass
class Measure:
    """One quantity: `key` names it in what a round returns, `title` and `unit` in tables."""

    key: str
    title: str
    unit: str
    bars: list = dataclasses.field(default_factory=list)
    rounds: dict = dataclasses.field(default_factory=dict)  # variant -> one value a round
    samples: dict = dataclasses.field(default_factory=dict)  # variant -> a list of samples a round

    def add(self, variant, samples):
        """Records a round: a number, or the list of the single operations, whose median counts."""
        samples = list(samples) if isinstance(samples, (list, tuple)) else [samples]
        self.samples.setdefault(variant, []).append(samples)
        self.rounds.setdefault(variant, []).append(statistics.median(samples))

    def spread(self, variant):
        return Spread.of(self.rounds[variant])

    def ratios(self, variant, against):
        """One ratio a round. What happens to the machine between two rounds hits both sides of a
        ratio, so these vary less than the values."""
        pairs = zip(self.rounds[variant], self.rounds[against])
        return [value / base for value, base in pairs if base]

    def ratio(self, variant, against):
        """Spread of the ratios; None if the other side was always 0."""
        ratios = self.ratios(variant, against)
        return Spread.of(ratios) if ratios else None

    def judge(self):
        """[(bar, the median it is about or None, "met", "missed", "undecided" or "not measured")]. It is
        undecided if many rounds do not tell on which side of the limit the median lies."""
        verdicts = []
        for bar in self.bars:
            spread = None
            if bar.variant in self.rounds and bar.against is None:
                spread = self.spread(bar.variant)
            elif bar.variant in self.rounds and bar.against in self.rounds:
                spread = self.ratio(bar.variant, bar.against)
            if spread is None:
                verdicts.append((bar, None, "not measured"))
                continue
            verdict = "met" if bar.reached_by(spread.median) else "missed"
            if spread.is_interval and spread.least < bar.limit < spread.most:
                verdict = "undecided"
            verdicts.append((bar, spread.median, verdict))
        return verdicts
