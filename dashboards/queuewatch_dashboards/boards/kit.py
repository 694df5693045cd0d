"""What the boards share: the configuration's queries and texts, the variables, and how states are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.grafana import Board, Column, Query, Section, Step, Unit, Variable, Word
from queuewatch_dashboards.promql import Labels, chosen
from queuewatch_dashboards.queries import Queries
from queuewatch_dashboards.texts import Texts
from queuewatch_schemas.config import Preset

GOOD: Final = "green"
WARN: Final = "orange"
BAD: Final = "red"
PLAIN: Final = "text"

BELOW_ZERO: Final = (Step(None, BAD), Step(-0.1, WARN), Step(0, GOOD))
"""A level less its target: missed by more than ten points, missed, met."""
OF_LIMIT: Final = (Step(None, PLAIN), Step(0.75, WARN), Step(1, BAD))
"""A figure over its queue's own limit."""
MUST_BE_ZERO: Final = (Step(None, GOOD), Step(1, BAD))


class Kit:
    """By one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.queries = Queries(configuration)
        windows = configuration.windows
        self.texts = Texts(
            configuration.language, {"rolling": windows.rolling, "interval": str(configuration.interval_minutes)}
        )
        self.unknown = self.texts.word("unknown")

    # -------------------------------------------------------------------------------------------------------- variables

    def queue(self, *, several: bool = False) -> Variable:
        """Which queue."""
        return self._variable("queue", self.queries.metric("queue_info"), several=several)

    def channel(self, *, several: bool = False) -> Variable:
        """Which channel; voice first."""
        return self._variable(
            "channel", self.queries.metric("calls_offered_total"), several=several, default="" if several else "voice"
        )

    def window(self) -> Variable:
        """Which window, of those that the workers show."""
        return self._variable(
            "window", self.queries.metric("window_offered_calls"), default=self.configuration.windows.rolling
        )

    def definition(self, name: str = "definition", where: Labels | None = None) -> Variable:
        """Which definition: always exactly one, since levels of two are different quantities."""
        series = self.queries.metric("service_level_target_ratio", where or {})
        return self._variable(name, series, of="definition")

    def place(self, name: str) -> Variable:
        """Which sites or groups."""
        return self._variable(name, self.queries.metric("queue_info"), several=True)

    def _variable(self, name: str, series: str, *, of: str = "", several: bool = False, default: str = "") -> Variable:
        label = self.texts.word(f"variable.{name}")
        return Variable(name, label, series=series, of=of, several=several, default=default)

    # ------------------------------------------------------------------------------------------------------------ states

    def data_words(self) -> Sequence[Word]:
        """Of `Queries.data_state`."""
        colors = {"3": GOOD, "2": PLAIN, "1": BAD, "0": BAD}
        return [Word(value, self.texts.word(f"data.{value}"), color) for value, color in colors.items()]

    def data(self, rows: str) -> Column:
        """A column that says for each row, which has a queue, whether its figures can be believed."""
        state = f"({self.queries.data_state()}) * on (queue) group_right () ({rows} >= bool 0)"
        return Column(self.texts.word("column.data"), state, unit="none", words=self.data_words())

    def words(self, kind: str, *, bad: str = BAD) -> Sequence[Word]:
        """Of 1 and 0: `kind` is a key of the texts (yes, open, up); 0 is shown in the colour `bad`."""
        return [Word("1", self.texts.word(f"{kind}.1"), GOOD), Word("0", self.texts.word(f"{kind}.0"), bad)]

    def formula_words(self) -> Sequence[Word]:
        """Presets as formulas."""
        return [Word(preset.value, self.texts.word(f"preset.{preset.value}"), "") for preset in Preset]

    # ----------------------------------------------------------------------------------------------- columns, links, lines

    def label(self, label: str, *, words: Sequence[Word] = (), width: int | None = None) -> Column:
        """A column of a label's values."""
        return Column(self.texts.word(f"column.{label}"), label=label, words=words, width=width)

    def value(
        self, key: str, expression: str, *, unit: Unit = "short", decimals: int | None = 0, steps: Sequence[Step] = ()
    ) -> Column:
        """A column of a question's answers."""
        return Column(self.texts.word(f"column.{key}"), expression, unit=unit, decimals=decimals, steps=steps)

    def queue_link(self) -> Column:
        """The column of queues, with a link to the queue's own board."""
        return Column(
            self.texts.word("column.queue"),
            label="queue",
            link=(self.texts.word("link.queue"), self.address(self.configuration.uids.queue)),
        )

    def definition_link(self) -> Column:
        """The column of definitions, with a link to where a queue's definitions stand beside each other."""
        address = self.address(self.configuration.uids.comparison, value="${__data.fields.queue:percentencode}")
        return Column(
            self.texts.word("column.definition"), label="definition", link=(self.texts.word("link.comparison"), address)
        )

    @staticmethod
    def address(uid: str, value: str = "${__value.raw:percentencode}") -> str:
        """A board of one queue, at the same time and data source; the queue's name is percent-encoded by Grafana."""
        return f"/d/{uid}?var-queue={value}&var-datasource=${{datasource:percentencode}}&${{__url_time_range}}"

    def line(self, expression: str, key: str) -> Query:
        """A line of a graph, with its legend from the texts."""
        return Query(expression, self.texts.word(key))

    def board(
        self, name: str, uid: str, sections: Iterable[Section], variables: Iterable[Variable], since: str
    ) -> Board:
        """A board; its title and description are the texts of its name."""
        return Board(
            uid=uid,
            text=self.texts[name],
            sections=tuple(sections),
            variables=tuple(variables),
            since=since,
            refresh=self.configuration.times.refresh,
        )


QUEUE: Final[Labels] = {"queue": chosen("queue")}
"""The chosen queue."""
FIGURE: Final[Labels] = {**QUEUE, "channel": chosen("channel")}
"""The chosen queue and channel."""
WINDOW: Final[Labels] = {**FIGURE, "window": chosen("window")}
"""And the chosen window."""
LEVEL: Final[Labels] = {**WINDOW, "definition": chosen("definition")}
"""And the chosen definition."""
