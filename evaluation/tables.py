"""The content of `scores.json` as terminal tables."""

from typing import Any

from rich.console import Group
from rich.table import Table

from tiktalkcoref.evaluate_metric.report import tables
from tiktalkcoref.files.terminal import counted


def summary_tables(result: dict[str, Any]) -> Group:
    """The scores, the linking settings and the baselines."""
    flat: dict[str, float] = {}
    for key, entry in result["scores"].items():
        flat[key] = entry["value"]
        flat |= {f"{key}_{bound}": entry[bound] for bound in ("low", "high") if bound in entry}
    parts: list[Any] = [tables(flat)]
    if result["linking_settings"]:
        parts += [_linking_settings(result["linking_settings"]), f"candidates: {result['candidates']['kind']}"]
        if "tracker_recall" in result["candidates"]:
            parts.append(tracker_note(result["candidates"]))
    return Group(*parts, _baselines(result["baselines"]), _challenge(result["challenge"]))


def tracker_note(candidates: dict[str, Any]) -> str:
    """How many of the annotated persons were tracked: what bounds the recall of links."""
    recall, dialogues = candidates["tracker_recall"], candidates["tracked_dialogues"]
    interval = f" [{100 * recall['low']:.1f}, {100 * recall['high']:.1f}]" if "low" in recall else ""
    untracked = candidates["untracked_dialogues"]
    return (
        f"The tracker reaches {round(recall['value'] * recall['n'])} of {recall['n']} annotated persons, "
        f"{100 * recall['value']:.1f}%{interval}, in {counted(dialogues, 'dialogue')}: the ceiling of every "
        "recall, since one who is not reached counts as a miss."
        + (f" No pictures to track, and so no link to ask for: {counted(untracked, 'dialogue')}." if untracked else "")
    )


def interval_note(result: dict[str, Any]) -> str:
    """How the intervals were made."""
    if not result["n_resamples"]:
        return "no intervals"
    return f"{100 * result['confidence_level']:g}% intervals from {result['n_resamples']} resamples of the dialogues"


def _linking_settings(settings: list[dict[str, Any]]) -> Table:
    table = Table("", "n", "pool", "R@1", "chance", "R@3", "chance", title="Links by setting (%)", title_justify="left")
    for setting in settings:
        keys = [f"linking_{score}_at_{k}" for k in (1, 3) for score in ("recall", "chance")]
        cells = [f"{100 * setting['scores'][key]['value']:.1f}" for key in keys]
        table.add_row(setting["name"], str(setting["n"]), f"{setting['mean_pool']:.2f}", *cells)
    return table


def _baselines(rows: dict[str, dict[str, float]]) -> Table:
    linked = any("linking_recall_at_1" in row for row in rows.values())
    columns = ("R@1", "chance", "pool") if linked else ()
    table = Table("", "CoNLL F1", *columns, title="Baselines (%)", title_justify="left")
    for name, row in rows.items():
        cells = [_percent(row.get(key)) for key in ("conll_f1", "linking_recall_at_1", "linking_chance_at_1")]
        pool = row.get("linking_mean_pool")
        table.add_row(name, *cells[: 1 + len(columns)], *([""] if pool is None else [f"{pool:.2f}"])[: len(columns)])
    return table


def _challenge(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("", "right", "CoNLL F1", "mentions", title="Challenge set (%)", title_justify="left")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['exact']} of {row['n']}", *(_percent(row[key]) for key in ("conll_f1", "mention_f1"))
        )
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
