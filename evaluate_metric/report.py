"""Scores as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table

from .labels import LABELS, METRICS


def tables(scores: Mapping[str, float]) -> Group:
    """Tables of what `score` returned, in per cent; intervals in brackets where there are any.

    "Visual" is whether a cluster has a visual counterpart at all.
    """
    parts = [_coreference(scores, "", "Coreference")]
    if "multimodal_conll_f1" in scores:
        parts.append(_coreference(scores, "multimodal_", "Coreference over mentions and regions"))
    if "linking_visual_f1" in scores:
        parts.append(_linking(scores))
    return Group(*parts)


def _coreference(scores: Mapping[str, float], prefix: str, title: str) -> Table:
    table = Table("", "precision", "recall", "F1", title=f"{title} (%)", title_justify="left")
    for metric, name in METRICS.items():
        keys = [f"{prefix}{metric}_{part}" for part in ("precision", "recall", "f1")]
        cells = [f"{100 * scores[key]:.2f}" for key in keys[:2]]
        table.add_row(name, *cells, _cell(scores, keys[2]), end_section=metric == "mention")
    table.add_row(LABELS["conll_f1"], "", "", f"[bold]{_cell(scores, f'{prefix}conll_f1')}[/bold]")
    return table


def _linking(scores: Mapping[str, float]) -> Table:
    table = Table("", "score", "chance", "n", title="Linking (%)", title_justify="left")
    kinds = [key[len("linking_") : -len("_mrr")] for key in scores if key.endswith("_mrr") and key != "linking_mrr"]
    for kind in ("", *kinds) if "linking_mrr" in scores else ():
        prefix, n = (f"linking_{kind}_", scores[f"linking_{kind}_n"]) if kind else ("linking_", scores["linking_n"])
        recalls = [k for k in scores if k.startswith(f"{prefix}recall_at_") and not k.endswith(("_low", "_high"))]
        name = f"{kind}: " if kind else ""
        for key in recalls:
            k = key.rpartition("_")[2]
            table.add_row(f"{name}recall@{k}", _cell(scores, key), _cell(scores, f"{prefix}chance_at_{k}"), str(n))
        table.add_row(f"{name}mean recall", _cell(scores, f"{prefix}mean_recall"), "", str(n))
        table.add_row(f"{name}MRR", _cell(scores, f"{prefix}mrr"), "", str(n))
        table.add_row(f"{name}mean pool", f"{scores[f'{prefix}mean_pool']:.2f}", "", "", end_section=True)
    for part in ("precision", "recall", "f1"):
        clusters = str(scores["linking_visual_n"])
        table.add_row(f"visual {part.replace('f1', 'F1')}", _cell(scores, f"linking_visual_{part}"), "", clusters)
    return table


def _cell(scores: Mapping[str, float], key: str) -> str:
    text = f"{100 * scores[key]:.2f}"
    if f"{key}_low" in scores:
        text += f" \\[{100 * scores[f'{key}_low']:.2f}, {100 * scores[f'{key}_high']:.2f}]"
    return text
