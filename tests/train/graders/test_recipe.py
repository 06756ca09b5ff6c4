"""Recipes: a slip of the pen is named, and every packaged recipe says what a card can hold."""

import copy
import json
import re

import pytest
from pydantic import TypeAdapter

from kellgren.errors import BadRecipe
from kellgren.model import bundle

pytestmark = pytest.mark.train
pytest.importorskip("yaml")

from kellgren.train import kinds  # noqa: E402 - after the check that yaml is there
from kellgren.train.graders import recipe as recipes  # noqa: E402

SIZES = ("full", "small")
PACKAGED = [(name, size) for name in recipes.available() for size in SIZES]
GRADERS = [(n, size) for n, size in PACKAGED if "kind" not in recipes.document(n, size=size)]


PHASE = ("optimise", "phases", 0)


def question(classes):
    """An auxiliary question about KL."""
    return {"of": "KL", "classes": classes, "weight": 0.5}


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
    assert kinds.from_dict(TypeAdapter(type(recipe)).dump_python(recipe, mode="json")) == recipe


def test_an_unknown_kind_is_refused(document):
    with pytest.raises(BadRecipe, match="kind is 'segmenter'; known: grader"):
        kinds.from_dict({**document, "kind": "segmenter"})


@pytest.mark.parametrize(("name", "size"), GRADERS)
def test_packaged_recipe_survives_its_own_record(name, size):
    recipe = recipes.load(name, size=size)
    assert (recipe.name, recipe.size) == (name, size)
    assert recipes.from_dict(recipe.to_dict()) == recipe
    stored = recipes.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert json.dumps(stored.to_dict()) == json.dumps(recipe.to_dict())
    assert list(stored.tasks) == list(recipe.tasks)
    assert stored == recipe


def test_the_record_of_the_packaged_bundle_is_its_recipe():
    """Cards and run records of today stay readable, and are written again as they were."""
    stored = bundle.load("joint").card.training.settings
    recipe = recipes.from_dict(stored)
    assert recipe == recipes.load("joint", size="small")
    assert json.loads(json.dumps(recipe.to_dict())) == stored


def test_sizes_differ_only_where_they_say():
    full, small = recipes.load("joint", size="full"), recipes.load("joint", size="small")
    assert full.views == small.views
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
        (("optimise",), "phase", "phases"),
        (("optimise", "phases", 0), "epoch", "epochs"),
        (("loss", "default"), "gama", "gamma"),
        (("augment",), "rotation", "rotate"),
        (("network",), "backbones", "backbone"),
        (("network", "options"), "modell", "model"),
        (("views", "joint"), "prepares", "prepare"),
    ],
)
def test_unknown_key_names_the_nearest(document, place, wrong, near):
    target = document
    for key in place:
        target = target[key]
    target[wrong] = 1
    where = ".".join(str(key) for key in ("recipe", *place)).replace(".0", "[0]")
    refused(document, f"{re.escape(where)}: unknown key '{wrong}'.*did you mean '{near}'")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        ((*PHASE, "epochs"), 1.5, r"recipe.optimise.phases\[0\].epochs is 1.5: should be a valid integer"),
        ((*PHASE, "epochs"), True, "epochs is True: should be a valid integer"),
        ((*PHASE, "epochs"), "3", "epochs is '3': should be a valid integer"),
        ((*PHASE, "lr"), "1e-3", "lr is '1e-3': should be a valid number"),
        ((*PHASE, "epochs"), 0, r"optimise.phases\[0\].epochs is 0: should be greater than or equal to 1"),
        ((*PHASE, "lr"), 0.0, "lr is 0, not positive"),
        ((*PHASE, "warmup"), 99.0, "warmup is 99, not 0 to 12 epochs"),
        ((*PHASE, "schedule"), "linear", "schedule is 'linear'.*'constant', 'cosine' or 'one_cycle'"),
        ((*PHASE, "train"), "head", "train is 'head'.*'all' or 'heads'"),
        (("optimise", "phases"), [], r"optimise.phases is \[\]"),
        (("optimise", "batch"), -4, "optimise.batch is -4"),
        (("optimise", "ema"), 1.0, "optimise.ema is 1"),
        (("optimise", "patience"), -1, "optimise.patience is -1"),
        (("optimise", "optimiser"), "adamm", "optimiser is 'adamm'.*'adam', 'adamw' or 'sgd'"),
        (("name",), 3, "recipe.name is 3: should be a valid string"),
        (("tta",), "flip", "recipe.tta is 'flip': should be a valid array"),
        (("tasks",), ["KL"], "recipe.tasks is .*should be an object"),
        (("augment",), 3, "recipe.augment is 3: should be an object"),
        (("side_convention",), "as_left", "side_convention is 'as_left'.*'as_right' or 'none'"),
        (("tasks", "KL"), "much", "tasks"),
        (("decision", "KL"), "mode", "decision"),
        (("decision", "JSN_X"), "argmax", "unknown task 'JSN_X'.*did you mean 'JSN_"),
        (("tasks", "HIP"), 1.0, "unknown task 'HIP'"),
        (("tasks", "JSN_X"), 1.0, "unknown task 'JSN_X'.*did you mean 'JSN_"),
        (("tasks",), {}, "recipe.tasks is {}"),
        (("views",), {}, "recipe.views is {}"),
        (("views", "joint", "prepare"), [{"step": "blur"}], "views.joint.prepare.*unknown step 'blur'"),
        (("views", "joint", "finish"), [{"step": "invert"}], "'invert' cannot follow augmentation.*prepare"),
        (("views", "joint", "channels"), 2, "views.joint.channels is 2: should be 1 or 3"),
        (("loss", "KLL"), {}, "loss: 'KLL' is not a task here.*did you mean 'KL'"),
        (("sampling",), "even", "sampling is 'even'.*'natural' or 'balanced'"),
        (("augment_by_grade",), {"5": {}}, "augment_by_grade: key '5' should be less than or equal to 4"),
        (("augment_by_grade",), {"mild": {}}, "augment_by_grade: key 'mild' should be a valid integer"),
        (
            ("auxiliary",),
            {"early": {"of": "KLL", "classes": {}, "weight": 1.0}},
            "early.of: 'KLL' is not a task",
        ),
        (("auxiliary",), {"early": question({0: 0, 1: 2})}, "numbered from 0 without a gap"),
        (
            ("auxiliary",),
            {"early": question({0: 0, 7: 1})},
            "classes: key '7' should be less than or equal to 4",
        ),
        (("auxiliary",), {"KL": question({0: 0, 1: 1})}, "auxiliary.KL: a task has this name"),
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
    del document["optimise"]["phases"][0]["epochs"]
    refused(document, r"recipe\.optimise\.phases\[0\]: no key 'epochs'")


def test_whole_numbers_serve_as_fractions(document):
    document["optimise"]["weight_decay"] = 1
    assert recipes.from_dict(document).optimise.weight_decay == 1.0
    assert isinstance(recipes.from_dict(document).optimise.weight_decay, float)


def test_flip_needs_both_sides_of_a_sided_task(document):
    del document["tasks"]["FM"]
    document["loss"].pop("FM", None)
    refused(document, "augment.flip turns FL into FM, which is not a task here")
    document["augment"]["flip"], document["tta"] = 0.0, []
    assert "FL" in recipes.from_dict(document).tasks


def test_grades_as_keys_survive_json(document):
    document["augment_by_grade"] = {1: {"rotate": 15.0}, 3: {"grid": 0.1}}
    document["auxiliary"] = {"early": question({0: 0, 1: 1, 2: 1})}
    recipe = recipes.from_dict(document)
    assert recipe.augment_by_grade[1].rotate == 15
    assert recipe.auxiliary["early"].classes == {0: 0, 1: 1, 2: 1}
    assert recipe.classes_of("early") == 2
    assert recipes.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# --- overrides -------------------------------------------------------------------------------------------


def test_override_reaches_every_depth_and_leaves_its_argument(document):
    document["augment_by_grade"] = {1: {"rotate": 5.0}}
    before = copy.deepcopy(document)
    changed = recipes.override(
        document,
        [
            "optimise.batch=8",
            "optimise.phases.0.lr=1e-4",
            "loss.KL.gamma=3",
            "loss.OA={kind: focal, alpha: [1e-1, 2]}",
            "tta=[]",
            "title=Own = mine",
            "augment_by_grade.1.rotate=9",
            "views.joint.channels=3",
        ],
    )
    recipe = recipes.from_dict(changed)
    assert (recipe.optimise.batch, recipe.optimise.phases[0].lr) == (8, 1e-4)
    assert (recipe.loss_of("KL").gamma, recipe.tta, recipe.title) == (3.0, (), "Own = mine")
    assert (recipe.loss_of("OA").kind, recipe.loss_of("OA").alpha) == ("focal", (0.1, 2.0))
    assert recipe.augment_by_grade[1].rotate == 9
    assert recipe.views["joint"].channels == 3
    assert document == before


@pytest.mark.parametrize(
    ("assignment", "match"),
    [
        ("optimise.bach=8", "unknown key 'bach'; did you mean 'batch'"),
        ("optimize.batch=8", "unknown key 'optimize'; did you mean 'optimise'"),
        ("views.joynt.channels=3", "no view 'joynt'; did you mean 'joint'"),
        ("loss.KLL.gamma=3", "'KLL' is not a task here; did you mean 'KL'"),
        ("optimise.phases.1.lr=1", "optimise.phases has 1 items, counted from 0; no '1'"),
        ("name.first=1", "name is 'joint' and has no 'first'"),
        ("optimise.batch", "is not an assignment"),
        ("=3", "is not an assignment"),
        ("tta=[", "not valid YAML"),
        ("optimise.batch=many", "batch is 'many': should be a valid integer"),
    ],
)
def test_wrong_override_is_named(assignment, match):
    with pytest.raises(BadRecipe, match=match):
        recipes.from_dict(recipes.override(recipes.document("joint"), [assignment]))


def test_yaml_file_of_ones_own(tmp_path, document):
    import yaml

    own = {k: v for k, v in document.items() if k != "size"}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**own, "name": "own", "sizes": {"full": {"optimise": {"clip": 3.0}}}}))
    recipe = recipes.load(str(path))
    assert (recipe.name, recipe.optimise.clip) == ("own", 3)
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
