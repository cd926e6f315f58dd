"""Recipes: what is accepted, what is refused and in which words."""

import pytest
import yaml

from tiktalkcoref.training.recipe import PACKAGED, RecipeError, flatten, load_recipe, save_recipe

MINIMAL = {"initial": {"text_encoder": {"hidden_size": 32}}}


def write(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in PACKAGED.glob("*.yaml")))
def test_packaged_recipes_are_valid_and_named(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


def test_the_four_recipes_are_packaged():
    assert {path.stem for path in PACKAGED.glob("*.yaml")} >= {"sample", "text-small", "celeb-base", "text-large"}


def test_overrides_reach_every_level(tmp_path):
    recipe = load_recipe(
        write(tmp_path, MINIMAL),
        ["seed=3", "loop.batch_size=4", "optimizer.learning_rate=2e-5", "model.use_title=true", "train_config=celeb"],
    )
    assert (recipe.seed, recipe.loop.batch_size, recipe.optimizer.learning_rate) == (3, 4, 2e-5)
    assert recipe.model == {"use_title": True}
    assert recipe.train_config == "celeb"


def test_an_override_replaces_a_scalar_by_a_mapping(tmp_path):
    content = {"initial": {"text_encoder": "folder"}}
    recipe = load_recipe(write(tmp_path, content), ["initial.text_encoder.hidden_size=64"])
    assert recipe.initial.text_encoder == {"hidden_size": 64}


def test_saved_recipe_reads_back_equal(tmp_path):
    recipe = load_recipe("text-small", ["fold=2/5", "loop.trackers=[tensorboard]"])
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_yaml_no_is_the_precision_no(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("initial: {text_encoder: x}\nloop: {mixed_precision: no}\n", encoding="utf-8")
    assert load_recipe(path).loop.mixed_precision == "no"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loop.batchsize=4", ["unknown field loop.batchsize", "did you mean loop.batch_size?"]),
        ("lerning_rate=1e-4", ["unknown field lerning_rate", "did you mean optimizer.learning_rate?"]),
        ("learning_rate=1e-4", ["unknown field learning_rate", "did you mean optimizer.learning_rate?"]),
        ("loop.batch_size=0", ["loop.batch_size is 0", "1 or more"]),
        ("loop.batch_size=four", ["loop.batch_size is 'four' (str)", "int expected"]),
        ("loop.batch_size=true", ["loop.batch_size is True (bool)", "int expected"]),
        ("loop.epochs=2.5", ["loop.epochs is 2.5 (float)", "int expected"]),
        ("loop=3", ["loop is 3 (int)", "mapping of fields expected"]),
        ("optimizer.schedule=cosin", ["optimizer.schedule is 'cosin'", "did you mean cosine?"]),
        ("optimizer.learning_rate=fast", ["optimizer.learning_rate is 'fast'", "a number expected"]),
        ("optimizer.learning_rate=.nan", ["optimizer.learning_rate is nan", "a number expected"]),
        ("optimizer.learning_rate=-1", ["optimizer.learning_rate is -1.0", "0 or more"]),
        ("optimizer.warmup=1.5", ["optimizer.warmup is 1.5", "[0, 1)"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas is [0.9]", "two numbers"]),
        ("optimizer.layer_decay=0", ["optimizer.layer_decay is 0.0", "(0, 1]"]),
        ("loop.ema_decay=1", ["loop.ema_decay is 1.0", "[0, 1)"]),
        ("loop.select_on=[]", ["loop.select_on is empty"]),
        ("train_config=celebs", ["train_config is 'celebs'", "did you mean celeb?"]),
        ("final_evaluations=[celeb]", ["'celeb'", "config/split expected"]),
        ("final_evaluations=[celeb/dev]", ["'celeb/dev'", "celeb/test"]),
        ("fold=6/5", ["fold is '6/5'", "2/5"]),
        ("initial.chinese_clip=x", ["initial: exactly one of", "text_encoder, chinese_clip"]),
        ("initial.text_encoder=null", ["initial: exactly one of", "none of them"]),
        ("linking=true", ["linking is true but there is no vision encoder"]),
        ("seed=-1", ["seed is -1"]),
        ("seed", ["'seed'", "expected field=value"]),
        ("seed=[1", ["'seed=[1'", "not YAML"]),
    ],
)
def test_refused_with_the_way_out(tmp_path, override, words):
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, MINIMAL), [override])
    for word in words:
        assert word in str(error.value)


def test_training_on_the_validation_split_goes_with_keeping_the_last():
    with pytest.raises(
        RecipeError, match=r"train_split is train\+validation.*set train_split=train, or loop\.keep=last"
    ):
        load_recipe("text-small", ["train_split=train+validation", "loop.keep=best"])


def test_patience_does_not_go_with_keeping_the_last():
    with pytest.raises(RecipeError, match=r"loop\.patience .*loop\.keep=last.*leave one"):
        load_recipe("text-small", ["loop.patience=2"])
    recipe = load_recipe("text-small", ["loop.patience=2", "loop.keep=best", "train_split=train"])
    assert recipe.loop.patience == 2


def test_unknown_recipe_names_the_packaged_ones():
    with pytest.raises(RecipeError, match=r"text-small.*did you mean text-small"):
        load_recipe("text-smal")


def test_a_recipe_without_start_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="no field `initial`"):
        load_recipe(write(tmp_path, {"seed": 1}))


@pytest.mark.parametrize("text", ["- a\n- b\n", "seed: [1\n", ""])
def test_a_file_that_holds_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_recipe(path)


def test_flatten_names_fields_as_set_does(tmp_path):
    flat = flatten(load_recipe("text-small"))
    assert flat["loop.batch_size"] == 16
    assert flat["model"]["use_title"] is False  # free-form mappings stay whole
    assert not any(name.startswith("model.") for name in flat)
