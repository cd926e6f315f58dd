"""Which model of a run is the best."""

from collections.abc import Mapping, Sequence

from tiktalkcoref.evaluation.dialogues import Dialogue
from tiktalkcoref.evaluation.predictions import score_gold
from tiktalkcoref.files.hints import closest

from .recipe import Recipe, RecipeError


def selection_score(scores: Mapping[str, float], select_on: Sequence[str]) -> float | None:
    """The mean of those scores that say something; None where none does.

    Links do where there was a choice: they are taken over the dialogues with more than one region, since a single one
    is found by any model.
    """
    values = []
    for name in select_on:
        if name.startswith("linking_"):
            if not scores.get("linking_choice_n"):
                continue
            choice = name.replace("linking_", "linking_choice_", 1)
            name = choice if choice in scores else name
        if scores.get(name) is not None:
            values.append(scores[name])
    return sum(values) / len(values) if values else None


def check_selection(recipe: Recipe, validation: Sequence[Dialogue]) -> None:
    """Whether the scores that select the best model are among those that the validation split gives."""
    scores = score_gold(validation)
    for name in recipe.loop.select_on:
        nothing_to_link = name.startswith("linking_") and "linking_n" not in scores
        if name not in scores and not nothing_to_link:
            raise RecipeError(f"recipe {recipe.name}: loop.select_on: no score {name!r}{closest(name, scores)}")
    if selection_score(scores, recipe.loop.select_on) is None:
        raise RecipeError(
            f"recipe {recipe.name}: loop.select_on is {', '.join(recipe.loop.select_on)}, but the validation split has "
            "nothing to link where there are several regions to choose from: add conll_f1"
        )
