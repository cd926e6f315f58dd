"""Cards: the model's, rendered from what was measured, and the check that every card passes before it is pushed."""

import json
import math
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import DatasetCard, EvalResult, ModelCard, ModelCardData, RepoCard, SpaceCard

from tiktalkcoref.evaluate_metric.labels import LABELS
from tiktalkcoref.files.errors import UserError

from .kind import Sources

TEMPLATE = Path(__file__).parent.parent / "model_card.md"
CARDS: dict[str, type[RepoCard]] = {"model": ModelCard, "dataset": DatasetCard, "space": SpaceCard}

# The scores that the model-index lists, with the names that people know them by.
HEADLINES = {key: name for key, name in LABELS.items() if not key.startswith(("ceaf_m", "blanc", "linking_visual"))}
HUB_ID = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


def render_model_card(
    sources: Sources, ids: dict[str, str], config: dict[str, Any], parameters: int, examples: list[dict[str, Any]]
) -> str:
    """The model card.

    Args:
        sources: the model's folder (with `recipe.yaml` and `summary.json` of its run beside it) and the scores.
        ids: repository ids of all kinds.
        config: the model's config.json.
        parameters: numbers in the weights.
        examples: the widget's: title, text, and what the model answered.
    Raises:
        ValueError: scores that cannot be read.
    """
    reports = [_report(read_scores(path), sources, ids) for path in sources.scores]
    recipe, summary = _read_run(sources)
    if summary is None:
        summary = next((report["training"] for report in reports if report.get("training")), {})
    data = ModelCardData(
        language="zh",
        license="mit",
        library_name="transformers",
        pipeline_tag="token-classification",
        base_model=list(sources.base_models) or _base_models(recipe) or None,
        datasets=[ids["dataset"]] if _is_pushed(recipe.get("dataset"), sources, ids) else None,
        metrics=[ids["metric"]],
        tags=["coreference-resolution", "multimodal", "entity-linking", "custom_code"],
        model_name=ids["model"].split("/")[1],
        eval_results=[result for report in reports for result in _eval_results(report)] or None,
        widget=[{"example_title": example["title"], "text": example["text"]} for example in examples],
    )
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"json": _to_json, "number": _number, "percent": _percent, "interval": _interval}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card_data=data.to_yaml(),
        ids=ids,
        config=config,
        vision=config.get("vision_config"),
        parameters=parameters,
        examples=examples,
        reports=reports,
        headlines=HEADLINES,
        run={
            "recipe": recipe,
            "recipe_text": yaml.safe_dump(_shorten(recipe), sort_keys=False, allow_unicode=True),
            "figures": _figures(summary),
        },
    )


def read_scores(path: Path) -> dict[str, Any]:
    """A `scores.json` as `tiktalkcoref evaluate` writes it.

    Raises:
        ValueError: no such file, not JSON, or not of the format 1.
    """
    writes = "`tiktalkcoref evaluate` writes scores.json"
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}: {writes}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no JSON ({error}): {writes}") from error
    if not isinstance(scores, dict) or scores.get("format") != 1:
        raise UserError(f"{path} is not of the format 1: evaluate again with this version of the package")
    if missing := {"dataset", "config", "split", "dialogues", "scores"} - scores.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: {writes}")
    return scores


def check_card(path: Path, repo_type: str) -> None:
    """Refuse a card that the Hub would refuse, before anything is created.

    Raises:
        ValueError: there is no card, or its metadata is missing or wrong.
    """
    if not path.is_file():
        raise UserError(f"the {repo_type} has no README.md, the card")
    try:
        card = CARDS[repo_type](path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"README.md of the {repo_type}: {' '.join(str(error).split())}") from error
    if not card.data.to_dict():
        raise UserError(f"README.md of the {repo_type} has no metadata (the YAML between --- lines at its start)")
    for result in getattr(card.data, "eval_results", None) or []:
        if not isinstance(result.metric_value, (int, float)) or not math.isfinite(result.metric_value):
            raise UserError(f"README.md: {result.metric_name} is {result.metric_value!r}, a number was expected")


def _base_models(recipe: dict[str, Any]) -> list[str]:
    """Hub ids of what a run started from; folders and encoders from scratch have none."""
    initial = recipe.get("initial") or {}
    found = [initial.get(name) for name in ("text_encoder", "chinese_clip", "checkpoint")]
    if initial.get("pretrained_vision") and isinstance(initial.get("vision_encoder"), str):
        found.append("timm/" + initial["vision_encoder"].removeprefix("timm/"))
    return [name for name in found if isinstance(name, str) and _is_hub_id(name)]


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(HUB_ID, name) is not None and not Path(name).exists()


def _read_run(sources: Sources) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The recipe (empty where there is none) and the summary of the training run that the model lies in."""
    model = sources.model or Path()
    folders = [model, model.resolve().parent]
    folder = next((folder for folder in folders if (folder / "summary.json").is_file()), folders[-1])
    recipe, summary = folder / "recipe.yaml", folder / "summary.json"
    known = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else None
    measured = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else None
    return known if isinstance(known, dict) else {}, measured


def _figures(summary: dict[str, Any]) -> dict[str, str]:
    """The lines of the environmental figures: what the run measured, in units for people."""
    figures = {}
    if summary.get("wall_seconds") is not None:
        figures["wall time"] = f"{summary['wall_seconds'] / 60:.1f} minutes"
    if summary.get("peak_memory_bytes") is not None:
        figures["peak memory"] = f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB"
    for key in ("device", "parameters", "best_epoch", "seed"):
        if summary.get(key) is not None:
            figures[key.replace("_", " ")] = f"{summary[key]:,}" if key == "parameters" else str(summary[key])
    return figures | {str(name): str(value) for name, value in (summary.get("versions") or {}).items()}


def _shorten(value: Any) -> Any:
    """A recipe without the folders of the machine it ran on: of a path, its last part."""
    if isinstance(value, dict):
        return {key: _shorten(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_shorten(entry) for entry in value]
    is_path = isinstance(value, str) and re.match(r"([/~.]|[A-Za-z]:[\\/]).*[\\/]", value)
    return Path(value).name if is_path else value


def _report(scores: dict[str, Any], sources: Sources, ids: dict[str, str]) -> dict[str, Any]:
    """Scores with the name of their dataset: its repository if it is the one that is pushed, else its own."""
    name = str(scores["dataset"])
    local = name if _is_hub_id(name) else Path(name).name
    pushed = _is_pushed(name, sources, ids)
    part = [scores["config"], scores["split"], *([f"fold {scores['fold']}"] if scores.get("fold") else [])]
    optional: dict[str, Any] = {"linking_settings": [], "baselines": {}, "confidence_level": None}
    return {
        **optional,
        **scores,
        "dataset": ids["dataset"] if pushed else local,
        "dataset_name": "TikTalkCoref" if pushed else local,
        "part": ", ".join(part),
    }


def _is_pushed(dataset: Any, sources: Sources, ids: dict[str, str]) -> bool:
    """Whether a dataset named in a recipe or in scores is the one in the dataset repository."""
    return bool(dataset) and (dataset == ids["dataset"] or Path(dataset).resolve() == sources.dataset.resolve())


def _eval_results(report: dict[str, Any]) -> list[EvalResult]:
    results = []
    for key, name in HEADLINES.items():
        score = report["scores"].get(key) or {}
        if score.get("value") is None:
            continue
        if score.get("low") is not None:
            score = {**score, "confidence_level": report["confidence_level"]}
        parts = ("n", "low", "high", "confidence_level")
        results.append(
            EvalResult(
                task_type="coreference-resolution",
                task_name="Multimodal coreference resolution",
                dataset_type=report["dataset"],
                dataset_name=f"{report['dataset_name']} ({report['part']})",
                dataset_config=report["config"],
                dataset_split=report["split"],
                metric_type=key,
                metric_name=name,
                metric_value=score["value"],
                metric_args={part: score[part] for part in parts if score.get(part) is not None},
            )
        )
    return results


def _to_json(rows: list[dict[str, Any]]) -> str:
    """A list with one entry a line."""
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]" if rows else "[]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _interval(score: dict[str, Any]) -> str:
    """ "68.2 (61.0 to 74.9)", per cent."""
    if score.get("low") is None:
        return _percent(score["value"])
    return f"{_percent(score['value'])} ({_percent(score['low'])} to {_percent(score['high'])})"
