"""Recipes: a slip of the pen is named, and every packaged recipe says what a card can hold."""

import dataclasses
import json

import pytest

from kellgren import steps
from kellgren.errors import BadRecipe

pytestmark = pytest.mark.train
pytest.importorskip("yaml")

from kellgren.learn import kinds  # noqa: E402 - after the check that yaml is there
from kellgren.learn import recipe as recipes  # noqa: E402

SIZES = ("full", "small")
PACKAGED = [(name, size) for name in recipes.available() for size in SIZES]
GRADERS = [(n, size) for n, size in PACKAGED if "kind" not in recipes.document(n, size=size)]


@pytest.fixture
def document():
    """The default recipe as it is stored in a run record: plain JSON."""
    return json.loads(json.dumps(recipes.load("joint", size="small").to_dict()))


def refused(document, match):
    with pytest.raises(BadRecipe, match=match):
        recipes.from_dict(document)


@pytest.mark.parametrize(("name", "size"), PACKAGED)
def test_packaged_recipe_of_any_kind_survives_its_own_record(name, size):
    recipe = kinds.from_dict(recipes.document(name, size=size))
    assert (recipe.name, recipe.size) == (name, size)
    assert kinds.from_dict(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_an_unknown_kind_is_refused(document):
    with pytest.raises(BadRecipe, match="one of grader"):
        kinds.from_dict({**document, "kind": "segmenter"})


@pytest.mark.parametrize(("name", "size"), GRADERS)
def test_packaged_recipe_survives_its_own_record(name, size):
    recipe = recipes.load(name, size=size)
    assert (recipe.name, recipe.size) == (name, size)
    assert recipes.from_dict(recipe.to_dict()) == recipe
    stored = recipes.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert json.dumps(stored.to_dict()) == json.dumps(recipe.to_dict())
    assert list(stored.tasks) == list(recipe.tasks)
    steps.validate(recipe.input.steps)


def test_sizes_differ_only_where_they_say(tmp_path):
    full, small = recipes.load("joint", size="full"), recipes.load("joint", size="small")
    assert full.input == small.input
    assert full.optimise.epochs > small.optimise.epochs
    assert full.optimise.weight_decay == small.optimise.weight_decay


@pytest.mark.parametrize(
    ("name", "size", "match"),
    [
        ("joynt", "full", "did you mean 'joint'"),
        ("joint", "smal", "did you mean 'small'"),
        ("x", "full", "known: "),
    ],
)
def test_unknown_name_or_size_names_the_nearest(name, size, match):
    with pytest.raises(BadRecipe, match=match):
        recipes.load(name, size=size)


@pytest.mark.parametrize(
    ("place", "wrong", "near"),
    [
        ((), "optimize", "optimise"),
        ((), "taskss", "tasks"),
        (("optimise",), "epoch", "epochs"),
        (("augment",), "rotation", "rotate"),
        (("network",), "backbones", "backbone"),
        (("input",), "step", "steps"),
    ],
)
def test_unknown_key_names_the_nearest(document, place, wrong, near):
    target = document
    for key in place:
        target = target[key]
    target[wrong] = 1
    where = ".".join(("recipe", *place))
    refused(document, f"{where}: unknown key '{wrong}'.*did you mean '{near}'")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (("optimise", "epochs"), 1.5, "recipe.optimise.epochs is 1.5, expected int"),
        (("optimise", "epochs"), True, "epochs is True, expected int"),
        (("optimise", "epochs"), "3", "epochs is '3', expected int"),
        (("optimise", "lr"), "1e-3", "lr is '1e-3', expected float"),
        (("optimise", "epochs"), 0, "optimise.epochs is 0, not 1 or more"),
        (("optimise", "batch"), -4, "optimise.batch is -4"),
        (("name",), 3, "recipe.name is 3, expected str"),
        (("tta",), "flip", "recipe.tta is 'flip', expected tuple"),
        (("tasks",), ["KL"], "recipe.tasks is .*expected dict"),
        (("augment",), 3, "recipe.augment is 3, expected Augment"),
        (("side_convention",), "as_left", "side_convention is 'as_left'.*as_right, none"),
        (("tasks", "KL"), "much", "tasks"),
        (("decision", "KL"), "mode", "decision"),
        (("tasks", "HIP"), 1.0, "unknown task 'HIP'"),
        (("tasks", "JSN_X"), 1.0, "unknown task 'JSN_X'.*did you mean 'JSN_"),
        (("input", "augment_before"), "regoin", "no step 'regoin'.*did you mean 'region'"),
        (("input", "steps"), [{"step": "blur"}], "input.steps: unknown step 'blur'"),
        (("augment", "flip"), 0.0, "tta lists flip"),
    ],
)
def test_wrong_value_is_named(document, place, value, match):
    target = document
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    refused(document, match)


def test_missing_key_is_named(document):
    del document["optimise"]["epochs"]
    refused(document, r"recipe\.optimise.*epochs")


def test_whole_numbers_serve_as_fractions(document):
    document["optimise"]["lr"] = 1
    assert recipes.from_dict(document).optimise.lr == 1.0
    assert isinstance(recipes.from_dict(document).optimise.lr, float)


def test_yaml_file_of_ones_own(tmp_path, document):
    import yaml

    own = {k: v for k, v in document.items() if k != "size"}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**own, "name": "own", "sizes": {"full": {"optimise": {"epochs": 3}}}}))
    recipe = recipes.load(str(path))
    assert (recipe.name, recipe.optimise.epochs) == ("own", 3)
    assert recipe.optimise.batch == document["optimise"]["batch"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [", "not valid YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("!!python/object:os.system {}", "YAML"),
    ],
)
def test_file_that_is_no_recipe(tmp_path, text, match):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(BadRecipe, match=match):
        recipes.load(str(path))


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(BadRecipe, match="cannot read the recipe"):
        recipes.load(str(tmp_path / "none.yaml"))
