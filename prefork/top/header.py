"""What stands above the table: a service in a few lines, or in one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prefork.top.columns import cut
from prefork.top.curves import Glyphs, draw_bar, draw_curve
from prefork.top.numbers import show_age, show_count, show_percent, show_rate, show_size, show_time
from prefork.top.rates import ServiceRates
from prefork.top.seen import Seen

GAP = "   "
LABEL = "dim"
BAR_WIDTH = 30
WIDEST_CURVE = 120
NARROWEST_CURVE = 10
LEFT_OF_CURVE, RIGHT_OF_CURVE = 6, 11
STATES = {"serving": "bold green", "reloading": "bold cyan", "starting": "bold cyan"}
"""Any other state is worth a look."""


def draw_header(seen: Seen, width: int, glyphs: Glyphs, *, with_curves: bool) -> list[Text]:
    """The whole of a service."""
    rates = seen.rates
    if rates is None:
        return [Text.assemble((seen.name, "bold"), GAP, seen.trouble or "looking …")]
    curves = _draw_curves(seen, width, glyphs) if with_curves else []
    if seen.trouble:  # what it said last is over
        return [draw_name(seen, rates), Text(cut(seen.trouble, width, glyphs), "bold red"), *curves]
    lines = flow([draw_name(seen, rates), *_list_standing(rates)], width)
    lines.append(Text(cut(", ".join(rates.addresses), width, glyphs)))
    lines += flow([*_list_speed(rates), *_list_load(rates)], width)
    lines += curves
    if news := _draw_reload(rates, width, glyphs):
        lines.append(news)
    return lines


def draw_line(seen: Seen, width: int, glyphs: Glyphs) -> Text:
    """The same in one line: what does not fit is left out, from its end."""
    if seen.rates is None or seen.trouble:
        trouble = cut(seen.trouble or "looking …", max(0, width - len(seen.name) - len(GAP)), glyphs)
        return Text.assemble((seen.name, "bold"), GAP, (trouble, "bold red" if seen.trouble else ""))
    rates = seen.rates
    parts = [draw_name(seen, rates), *_list_speed(rates), *_list_standing(rates), *_list_load(rates)]
    if rates.rollout is not None:
        parts.insert(1, _label("reload", f"{rates.rollout.moved}/{rates.rollout.of}"))
    return flow(parts, width)[0]


def flow(parts: Sequence[Text], width: int) -> list[Text]:
    """Side by side, and a new line where one does not fit any more."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(GAP) + part.cell_len <= width:
            lines[-1].append(GAP).append_text(part)
        else:
            lines.append(part.copy())
    return lines


def draw_name(seen: Seen, rates: ServiceRates) -> Text:
    """Its name and its state."""
    if seen.trouble:
        return Text.assemble((seen.name, "bold"), " ", ("no answer", "bold red"))
    return Text.assemble((seen.name, "bold"), " ", (rates.state, STATES.get(rates.state, "bold yellow")))


def _list_standing(rates: ServiceRates) -> list[Text]:
    is_short = rates.workers_ready < rates.workers_wanted
    return [
        _label("workers", f"{rates.workers_ready}/{rates.workers_wanted}", "bold yellow" if is_short else ""),
        _label("gen", str(rates.gen)),
        _label("up", show_age(rates.uptime_s)),
        _label("restarts", show_count(sum(rates.restarts.values()))),
    ]


def _list_speed(rates: ServiceRates) -> list[Text]:
    fails = show_rate(rates.server_errors_per_s)
    return [
        _label("req/s", show_rate(rates.requests_per_s), "bold"),
        _label("p50", show_time(rates.p50_s)),
        _label("p95", show_time(rates.p95_s)),
        _label("p99", show_time(rates.p99_s)),
        _label(
            "5xx/s",
            f"{fails} ({show_count(rates.server_errors)})",
            "bold red" if rates.server_errors_per_s else "",
        ),
    ]


def _list_load(rates: ServiceRates) -> list[Text]:
    return [
        _label("in-flight", show_count(rates.in_flight)),
        _label("queue", show_count(rates.queue), "bold yellow" if rates.queue else ""),
        _label("connections", show_count(rates.connections)),
        _label("memory", show_size(rates.memory_bytes)),
        _label("cpu", show_percent(rates.cpu_percent)),
    ]


def _label(label: str, value: str, style: str = "") -> Text:
    return Text.assemble((label, LABEL), " ", (value, style))


def _draw_curves(seen: Seen, width: int, glyphs: Glyphs) -> list[Text]:
    room = min(width, WIDEST_CURVE) - LEFT_OF_CURVE - RIGHT_OF_CURVE
    if room < NARROWEST_CURVE:
        return []
    drawn = []
    for label, values, show, style in (
        ("req/s", seen.requests_per_s, show_rate, "green"),
        ("p99", seen.p99_s, show_time, "cyan"),
    ):
        shown = list(values)[-room:]
        highest = max((value for value in shown if value is not None), default=None)
        drawn.append(
            Text.assemble(
                (label.ljust(LEFT_OF_CURVE), LABEL),
                (draw_curve(shown, room, glyphs), style),
                (f" max {show(highest)}".ljust(RIGHT_OF_CURVE), LABEL),
            )
        )
    return drawn


def _draw_reload(rates: ServiceRates, width: int, glyphs: Glyphs) -> Text | None:
    if (rollout := rates.rollout) is not None:
        share = rollout.moved / rollout.of if rollout.of else 0.0
        numbers = f" {rollout.moved}/{rollout.of}"
        rest = (f"gen {rollout.gen}", rollout.stage, show_age(rollout.started_s))
        bar = draw_bar(share, min(BAR_WIDTH, max(0, width - 40)), glyphs)
        return Text.assemble(("reload ", "bold cyan"), (bar, "cyan"), numbers, *(GAP + part for part in rest))
    if rates.last_reload not in ("", "ok"):
        label = "last reload failed: "
        return Text.assemble((label, "bold red"), cut(rates.last_reload, max(0, width - len(label)), glyphs))
    return None
