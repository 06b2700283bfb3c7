"""Asks ClickHouse what Grafana would ask it: the query of every panel and variable of dashboards, filled in as Grafana does.

Usage: grafana.py URL --password-file FILE --from SECONDS --to SECONDS [--set NAME=VALUE]... [--dashboards DIR]

Prints a line of JSON for each query: what it is of, how many rows came, how long it took, and what is wrong with it, if
anything. Ends with 1 when anything is. `tests/dashboards.rs` and `tests/bench/dashboards.py` use it.

What is filled in, in this order, and nothing else; whatever remains is a fault:

- by the plugin's page: $__conditionalAll(condition, $variable), 1=1 where the variable is empty or All
- by Grafana: ${variable}, $variable, ${variable:singlequote}, ${variable:csv}
- by the plugin's server: $__fromTime $__toTime $__fromTime_ms $__toTime_ms $__timeFilter $__timeFilter_ms $__dateFilter
  $__dateTimeFilter $__dt $__timeInterval $__timeInterval_ms $__interval_s

Not filled in, because no dashboard uses them: ad hoc filters, $__table, $__column, and the macros that rewrite a whole
statement ($__columns, $__rateColumns, $__perSecondColumns, $__increaseColumns, $__lttb).
"""

import argparse
import copy
import datetime
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

DASHBOARDS = pathlib.Path(__file__).resolve().parents[2] / "dashboards/grafana"
CLICKHOUSE = "grafana-clickhouse-datasource"
# Grafana asks for about as many points as a panel is wide.
POINTS = 1000
ALL = "$__all"
# A panel whose description has this says why no rows are no fault.
MAY_BE_EMPTY = "\nTrống / Empty: "


class Fault(Exception):
    """What is wrong with a query."""


class Store:
    """ClickHouse over HTTP, as the user of the dashboards: one that may only read."""

    def __init__(self, url, password):
        self.url, self.password = url, password

    def ask(self, sql):
        """The answer: `meta` (names and types) and `data` (rows)."""
        question = urllib.parse.urlencode({"database": "vonggac", "default_format": "JSONCompact"})
        headers = {"X-ClickHouse-User": "grafana", "X-ClickHouse-Key": self.password}
        request = urllib.request.Request(f"{self.url}/?{question}", sql.encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            raise Fault(refusal.read().decode(errors="replace").strip()) from None


class Variable:
    """A variable and what is chosen: one value, or several of its options; all of them unless it was said otherwise."""

    def __init__(self, given, options, chosen):
        self.options = options
        if chosen is not None:
            self.value = chosen
        elif given.get("includeAll"):
            self.value = ALL
        else:
            self.value = given.get("current", {}).get("value", options[0] if options else "")

    def is_all(self):
        return self.value in ("", ALL)

    def written(self, form):
        values = self.options if self.value == ALL else [self.value]
        if form == "singlequote":
            return ",".join("'" + value.replace("'", "\\'") + "'" for value in values)
        if form == "csv" or (form is None and self.value != ALL):
            return ",".join(values)
        raise Fault(f"a variable written in a way that is not known here: {form}")


class Page:
    """A dashboard as somebody looks at it: a period and a choice for each variable."""

    def __init__(self, dashboard, store, period, chosen):
        self.dashboard, self.store = dashboard, store
        self.since, self.until = period
        self.chosen = chosen
        self.variables = {}

    def answers(self):
        """Of each query of ClickHouse what came of it, variables first, for panels need them."""
        for given in self.dashboard["templating"]["list"]:
            yield from self.fill(given)
        for panel in self.dashboard["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] == CLICKHOUSE:
                    yield self.over(panel).answer(panel["title"], target, MAY_BE_EMPTY in panel["description"])

    def over(self, panel):
        """The page as a panel sees it that looks back as long as it says, whatever the dashboard shows."""
        made = copy.copy(self)
        if "timeFrom" in panel:
            made.since = self.until - seconds_of(panel["timeFrom"])
        return made

    def fill(self, given):
        name, options = given["name"], [option["value"] for option in given.get("options", [])]
        if given["type"] == "query":
            answer = self.answer(f"${name}", given["query"], False)
            options = [row[0] for row in answer.pop("data")]
            yield answer
        self.variables[name] = Variable(given, options, self.chosen.get(name))

    def answer(self, title, query, may_be_empty):
        made = {"dashboard": self.dashboard["title"], "panel": title, "rows": 0, "seconds": 0.0, "data": []}
        start = time.monotonic()
        try:
            made["sql"] = self.expand(query["rawSql"])
            came = self.store.ask(made["sql"])
            made |= {"rows": len(came["data"]), "data": came["data"]}
            look(query["format"], came["meta"], came["data"], (self.since, self.until))
            if not came["data"] and not may_be_empty:
                raise Fault("no rows")
        except Fault as fault:
            made["fault"] = str(fault)
        return made | {"seconds": time.monotonic() - start}

    def expand(self, sql):
        return self.macros(self.names(self.conditions(sql)))

    def conditions(self, sql):
        """From the last to the first, so that what stands within another is done before it."""
        macro = "$__conditionalAll("
        while (start := sql.rfind(macro)) >= 0:
            arguments, end = arguments_of(sql, start + len(macro) - 1)
            if len(arguments) != 2:
                raise Fault(f"{macro}: {len(arguments)} arguments")
            condition, variable = arguments
            name = variable.strip().lstrip("$").strip("{}")
            holds = "1=1" if self.variable(name).is_all() else condition
            sql = sql[:start] + holds + sql[end:]
        return sql

    def names(self, sql):
        sql = re.sub(r"\$\{(\w+)(?::(\w+))?\}", lambda found: self.variable(found[1]).written(found[2]), sql)
        return re.sub(r"\$(?!__)(\w+)", lambda found: self.variable(found[1]).written(None), sql)

    def variable(self, name):
        if name not in self.variables:
            raise Fault(f"the dashboard has no variable {name}")
        return self.variables[name]

    def macros(self, sql):
        while found := re.search(r"\$__(\w+)", sql):
            arguments, end = [], found.end()
            if sql[end : end + 1] == "(":
                arguments, end = arguments_of(sql, end)
            sql = sql[: found.start()] + self.macro(found[1], [argument.strip() for argument in arguments]) + sql[end:]
        return sql

    def macro(self, name, arguments):
        since, until, step = self.since, self.until, max((self.until - self.since) // POINTS, 1)
        second, milli = "toDateTime({})".format, lambda at: f"fromUnixTimestamp64Milli({at * 1000})"
        day = lambda at: time.strftime("toDate('%Y-%m-%d')", time.gmtime(at))
        within = lambda column, write: f"{column} >= {write(since)} AND {column} <= {write(until)}"
        both = lambda date, moment: f"({within(date, day)}) AND ({within(moment, second)})"
        known = {
            "fromTime": lambda: second(since),
            "toTime": lambda: second(until),
            "fromTime_ms": lambda: milli(since),
            "toTime_ms": lambda: milli(until),
            "timeFilter": lambda column: within(column, second),
            "timeFilter_ms": lambda column: within(column, milli),
            "dateFilter": lambda column: within(column, day),
            "dateTimeFilter": both,
            "dt": both,
            "timeInterval": lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL {step} second)",
            "timeInterval_ms": lambda column: f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {step * 1000} millisecond)",
            "interval_s": lambda: str(step),
        }
        if name not in known:
            raise Fault(f"$__{name} is no macro")
        try:
            return known[name](*arguments)
        except TypeError:
            raise Fault(f"$__{name}: {len(arguments)} arguments") from None


def arguments_of(sql, opening):
    """The arguments of the call whose parenthesis opens there, and where it ends. Texts in quotes are not looked into, as
    the plugin does not either: a parenthesis in one would be its undoing, too."""
    depth, start, arguments = 0, opening + 1, []
    for place in range(opening, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if (sql[place] == "," and depth == 1) or depth == 0:
            arguments.append(sql[start:place])
            start = place + 1
        if depth == 0:
            return [argument for argument in arguments if argument.strip()], place + 1
    raise Fault("a parenthesis that nobody closes")


def look(shape, columns, rows, period):
    """Grafana draws rows over time only when a time comes first, in ascending order and in what is shown, and a number last."""
    if shape != 0 or not rows:
        return
    if not columns[0]["type"].startswith("DateTime"):
        raise Fault(f"the first column is no time: {columns[0]}")
    if not re.match(r"U?Int|Float|Decimal", columns[-1]["type"]):
        raise Fault(f"the last column is no number: {columns[-1]}")
    times = [row[0] for row in rows]
    if times != sorted(times):
        raise Fault("the times do not ascend")
    # A bar begins before what is shown when its interval does.
    since, until = period
    step = max((until - since) // POINTS, 1)
    at = [datetime.datetime.fromisoformat(moment).replace(tzinfo=datetime.UTC).timestamp() for moment in (times[0], times[-1])]
    if at[0] <= since - step or at[1] > until + 1:
        raise Fault(f"times that are not shown: {times[0]} to {times[-1]}")


def opens_with(dashboard):
    """How many seconds back a dashboard shows when it is opened."""
    return seconds_of(dashboard["time"]["from"].removeprefix("now-"))


def seconds_of(length):
    number, unit = re.fullmatch(r"(\d+)([mhd])", length).groups()
    return int(number) * {"m": 60, "h": 3600, "d": 86400}[unit]


def ask_all(store, period, chosen, folder=DASHBOARDS, as_opened=False):
    """Of each query of the dashboards what came of it, and of the rows the first alone. `as_opened`: each dashboard only over the end of the
    period, as long as it shows when it is opened."""
    since, until = period
    for path in sorted(folder.glob("*.json")):
        dashboard = json.loads(path.read_text())
        shown = (max(since, until - opens_with(dashboard)), until) if as_opened else period
        for answer in Page(dashboard, store, shown, chosen).answers():
            yield answer | {"data": answer.get("data", [])[:1]}


def main():
    args = argparse.ArgumentParser(usage=__doc__)
    args.add_argument("url")
    args.add_argument("--password-file", type=pathlib.Path, required=True)
    args.add_argument("--from", dest="since", type=int, required=True)
    args.add_argument("--to", dest="until", type=int, required=True)
    args.add_argument("--set", action="append", default=[])
    args.add_argument("--dashboards", type=pathlib.Path, default=DASHBOARDS)
    args = args.parse_args()
    store = Store(args.url, args.password_file.read_text().strip())
    chosen = dict(given.split("=", 1) for given in args.set)
    faults = 0
    for answer in ask_all(store, (args.since, args.until), chosen, args.dashboards):
        print(json.dumps(answer, ensure_ascii=False))
        faults += "fault" in answer
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
