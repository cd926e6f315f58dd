"""The content of `scores.json` as terminal tables."""

from typing import Any

from rich.console import Group
from rich.table import Table

from tiktalkcoref.evaluate_metric.report import tables


def summary_tables(result: dict[str, Any]) -> Group:
    """The scores, the linking settings and the baselines."""
    flat: dict[str, float] = {}
    for key, entry in result["scores"].items():
        flat[key] = entry["value"]
        flat |= {f"{key}_{bound}": entry[bound] for bound in ("low", "high") if bound in entry}
    parts: list[Any] = [tables(flat)]
    if result["linking_settings"]:
        parts.append(_linking_settings(result["linking_settings"]))
    return Group(*parts, _baselines(result["baselines"]))


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


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
