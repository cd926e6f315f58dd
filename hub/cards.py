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
    run = _read_run(sources, reports)
    data = ModelCardData(
        language="zh",
        license="mit",
        library_name="transformers",
        pipeline_tag="token-classification",
        base_model=list(sources.base_models) or base_models(run["recipe"]) or None,
        datasets=[ids["dataset"]] if _is_pushed(run["recipe"].get("dataset"), sources, ids) else None,
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
        run=run,
    )


def read_scores(path: Path) -> dict[str, Any]:
    """A `scores.json` as `tiktalkcoref evaluate` writes it.

    Raises:
        ValueError: no such file, not JSON, or not of the format 1.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}: `tiktalkcoref evaluate` writes scores.json") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no JSON ({error}): `tiktalkcoref evaluate` writes scores.json") from error
    if not isinstance(scores, dict) or scores.get("format") != 1:
        raise UserError(f"{path} is not of the format 1: evaluate again with this version of the package")
    missing = {"dataset", "config", "split", "dialogues", "scores"} - scores.keys()
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: `tiktalkcoref evaluate` writes scores.json")
    return scores


def check_card(path: Path, repo_type: str) -> None:
    """Refuse a card that the Hub would refuse, before anything is created.

    Raises:
        ValueError: there is no card, or its metadata is missing or wrong.
    """
    if not path.is_file():
        raise UserError(f"{path.parent.name}: there is no README.md, the card")
    text = path.read_text(encoding="utf-8")
    try:
        card = CARDS[repo_type](text)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path.parent.name}/README.md: {' '.join(str(error).split())}") from error
    if len(card.data) == 0 or not card.data.to_dict():
        raise UserError(f"{path.parent.name}/README.md has no metadata (the YAML between --- lines at its start)")
    if isinstance(card, ModelCard):
        for result in getattr(card.data, "eval_results", None) or []:
            if not isinstance(result.metric_value, (int, float)) or not math.isfinite(result.metric_value):
                raise UserError(f"README.md: {result.metric_name} is {result.metric_value!r}, a number was expected")


def base_models(recipe: dict[str, Any]) -> list[str]:
    """Hub ids of what a run started from; folders and encoders from scratch have none."""
    initial = recipe.get("initial") or {}
    found = [initial.get(name) for name in ("text_encoder", "chinese_clip", "checkpoint")]
    if initial.get("pretrained_vision") and isinstance(initial.get("vision_encoder"), str):
        found.append("timm/" + initial["vision_encoder"].removeprefix("timm/"))
    return [name for name in found if isinstance(name, str) and re.fullmatch(HUB_ID, name) and not Path(name).exists()]


def _report(scores: dict[str, Any], sources: Sources, ids: dict[str, str]) -> dict[str, Any]:
    """Scores with the name of their dataset: its repository if it is the one that is pushed, else its own."""
    pushed = _is_pushed(scores["dataset"], sources, ids)
    name = str(scores["dataset"])
    local = name if re.fullmatch(HUB_ID, name) and not Path(name).exists() else Path(name).name
    return {
        "linking_settings": [],
        "baselines": {},
        "confidence_level": None,
        **scores,
        "dataset": ids["dataset"] if pushed else local,
        "dataset_name": "TikTalkCoref" if pushed else local,
        "part": _part(scores),
    }


def _is_pushed(dataset: Any, sources: Sources, ids: dict[str, str]) -> bool:
    """Whether a dataset named in a recipe or in scores is the one in the dataset repository."""
    if not dataset:
        return False
    return dataset == ids["dataset"] or Path(dataset).resolve() == sources.dataset.resolve()


def _eval_results(report: dict[str, Any]) -> list[EvalResult]:
    results = []
    for key, name in HEADLINES.items():
        score = report["scores"].get(key)
        if score is None or score.get("value") is None:
            continue
        measured = {"n": score.get("n"), "low": score.get("low"), "high": score.get("high")}
        if score.get("low") is not None:
            measured["confidence_level"] = report["confidence_level"]
        results.append(
            EvalResult(
                task_type="coreference-resolution",
                task_name="Multimodal coreference resolution",
                dataset_type=report["dataset"],
                dataset_name=f"{report['dataset_name']} ({_part(report)})",
                dataset_config=report["config"],
                dataset_split=report["split"],
                metric_type=key,
                metric_name=name,
                metric_value=score["value"],
                metric_args={part: value for part, value in measured.items() if value is not None},
            )
        )
    return results


def _part(report: dict[str, Any]) -> str:
    """ "celeb, test", and the fold of a cross-validation."""
    return ", ".join([report["config"], report["split"], *([f"fold {report['fold']}"] if report.get("fold") else [])])


def _read_run(sources: Sources, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The recipe and the summary of the training run, from beside the model or out of the scores."""
    model = sources.model or Path()
    folders = [model, model.resolve().parent]
    folder = next((folder for folder in folders if (folder / "summary.json").is_file()), folders[-1])
    recipe, summary = folder / "recipe.yaml", folder / "summary.json"
    known = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
    measured = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else None
    if measured is None:
        measured = next((report["training"] for report in reports if report.get("training")), {})
    known = known if isinstance(known, dict) else {}
    text = yaml.safe_dump(_shorten(known), sort_keys=False, allow_unicode=True)
    return {"recipe": known, "recipe_text": text, "figures": _figures(measured)}


def _figures(summary: dict[str, Any]) -> dict[str, str]:
    """The lines of the environmental figures: what the run measured, in units for people."""
    figures = {}
    if summary.get("wall_seconds") is not None:
        figures["wall time"] = f"{summary['wall_seconds'] / 60:.1f} minutes"
    if summary.get("peak_memory_bytes") is not None:
        figures["peak memory"] = f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB"
    for key in ("device", "parameters", "best_epoch", "seed"):
        if summary.get(key) is not None:
            value = summary[key]
            figures[key.replace("_", " ")] = f"{value:,}" if key == "parameters" else str(value)
    return figures | {str(name): str(value) for name, value in (summary.get("versions") or {}).items()}


def _shorten(value: Any) -> Any:
    """A recipe without the folders of the machine it ran on: of a path, its last part."""
    if isinstance(value, dict):
        return {key: _shorten(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_shorten(entry) for entry in value]
    if isinstance(value, str) and re.match(r"([/~.]|[A-Za-z]:[\\/]).*[\\/]", value):
        return Path(value).name
    return value


def _to_json(rows: list[dict[str, Any]]) -> str:
    """A list with one entry a line."""
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]" if rows else "[]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _interval(score: dict[str, Any] | None) -> str:
    """ "68.2 (61.0 to 74.9)", per cent."""
    if score is None or score.get("value") is None:
        return "–"
    if score.get("low") is None:
        return _percent(score["value"])
    return f"{_percent(score['value'])} ({_percent(score['low'])} to {_percent(score['high'])})"
