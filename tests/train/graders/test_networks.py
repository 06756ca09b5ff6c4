"""Networks: exact maps, frozen parts, initial weights; and graphs that say the same."""

from dataclasses import replace

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402 - after the check that torch is there

from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.train import graph  # noqa: E402
from kellgren.train.graders import losses, networks  # noqa: E402
from kellgren.train.graders.networks import backbone  # noqa: E402
from kellgren.train.graders.recipe import Loss  # noqa: E402
from kellgren.train.optimiser import parameters_of  # noqa: E402


@pytest.fixture
def net(tiny_recipe):
    torch.manual_seed(0)
    return networks.build(tiny_recipe, init=None)


def inputs(n=2, seed=0):
    return torch.randn(n, 1, 64, 96, generator=torch.Generator().manual_seed(seed))


def test_one_head_a_task_in_the_recipes_order(net, tiny_recipe):
    logits = net.eval()(inputs())
    assert list(logits) == list(tiny_recipe.tasks)
    assert {t: v.shape for t, v in logits.items()} == {
        t: (2, {"KL": 5, "OA": 2, "SIDE": 2}.get(t, 4)) for t in tiny_recipe.tasks
    }


def test_mean_of_the_maps_is_the_logit(net):
    net.eval()
    x = inputs()
    logits, maps, embedding = net.explain(x)
    plain = net(x)
    for task in logits:
        assert maps[task].shape[:2] == logits[task].shape
        torch.testing.assert_close(maps[task].mean(dim=(2, 3)), logits[task], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain[task], logits[task])
    head = net.heads["KL"]
    torch.testing.assert_close(embedding @ head.weight.T + head.bias, logits["KL"])


def one_step(net, recipe):
    net.train()
    grades = {task: torch.zeros(4, dtype=torch.int64) for task in recipe.tasks}
    loss = losses.multi_task(net(inputs(4)), grades, recipe)
    loss.backward()
    return loss


def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one(net, tiny_recipe):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    loss = one_step(net, tiny_recipe)
    assert torch.isfinite(loss)
    frozen = []
    for name, parameter in net.named_parameters():
        if name.startswith(("backbone.model.conv_stem.", "backbone.model.bn1.")):
            frozen.append(name)
            assert not parameter.requires_grad
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name
    assert len(frozen) == 3
    moved = [n for n, v in net.state_dict().items() if "running_mean" in n and not torch.equal(v, before[n])]
    assert moved, "batch statistics of the trained parts follow the data"
    assert "backbone.model.bn1.running_mean" not in moved


def test_frozen_parts_stay_in_evaluation_mode(net):
    net.train()
    assert not net.backbone.model.bn1.training
    assert net.backbone.model.blocks.training
    assert net.dropout.training


def test_unknown_part_cannot_be_frozen(tiny_recipe):
    wrong = replace(tiny_recipe, network=replace(tiny_recipe.network, freeze=("blocks.9",)))
    with pytest.raises(BadRecipe, match=r"no part 'blocks.9'"):
        networks.build(wrong, init=None)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"backbone": "resnet_of_nobody"}, "timm has no model"),
        ({"kind": "siamese_x"}, "no network 'siamese_x'"),
    ],
)
def test_unknown_network(tiny_recipe, changes, match):
    with pytest.raises(BadRecipe, match=match):
        networks.build(replace(tiny_recipe, network=replace(tiny_recipe.network, **changes)), init=None)


def test_a_network_of_ones_own_by_module_and_function(tiny_recipe, tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text("from kellgren.train.graders.networks.multi_task import build\n")
    own = replace(tiny_recipe, network=replace(tiny_recipe.network, kind="own_network:build"))
    with pytest.raises(BadRecipe, match=r"cannot import 'own_network'.*PYTHONPATH"):
        networks.build(own, init=None)
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(networks.build(own, init=None), networks.KneeNet)
    absent = replace(own, network=replace(own.network, kind="own_network:nothing"))
    with pytest.raises(BadRecipe, match="'own_network' has no 'nothing'"):
        networks.build(absent, init=None)


# --- initial weights -------------------------------------------------------------------------------------


def colour_weights(net):
    """The backbone's weights as ImageNet ones would be: three input channels, half precision."""
    state = net.backbone.model.state_dict()
    state = {n: torch.randn(v.shape) if v.is_floating_point() else v for n, v in state.items()}
    first = state["conv_stem.weight"]
    state["conv_stem.weight"] = torch.randn(first.shape[0], 3, *first.shape[2:])
    return {n: v.half() if v.is_floating_point() else v for n, v in state.items()}


def test_initial_weights_sum_the_first_convolutions_channels(net, tiny_recipe, tmp_path):
    stored = colour_weights(net)
    stored["absent.weight"] = torch.zeros(1)
    left_out = next(n for n in stored if n.endswith("bn2.weight"))
    kept = net.backbone.model.state_dict()[left_out].clone()
    del stored[left_out]
    path = tmp_path / f"{tiny_recipe.network.backbone}.safetensors"
    save_file(stored, path)
    networks.load_initial(net.backbone.model, path)
    loaded = net.backbone.model.state_dict()
    torch.testing.assert_close(
        loaded["conv_stem.weight"], stored["conv_stem.weight"].float().sum(1, keepdim=True)
    )
    torch.testing.assert_close(loaded[left_out], kept)
    for name in ("blocks.0.0.conv.weight", "bn1.running_var"):
        if name in stored:
            torch.testing.assert_close(loaded[name], stored[name].float())
    # a grey image repeated in three channels gives what the sum gives
    x = inputs()
    repeated = torch.nn.functional.conv2d(x.repeat(1, 3, 1, 1), stored["conv_stem.weight"].float())
    summed = torch.nn.functional.conv2d(x, loaded["conv_stem.weight"])
    torch.testing.assert_close(summed, repeated, atol=1e-4, rtol=1e-4)
    for init in (str(path), str(tmp_path)):
        built = networks.build(tiny_recipe, init=init)
        torch.testing.assert_close(built.backbone.model.state_dict()["bn1.bias"], stored["bn1.bias"].float())


def test_initial_weights_that_do_not_fit(net, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"bn1.weight": torch.zeros(3)}, path)
    with pytest.raises(BadRecipe, match=r"do not fit.*bn1.weight"):
        networks.load_initial(net.backbone.model, path)
    save_file({"something.else": torch.zeros(3)}, path)
    with pytest.raises(BadRecipe, match="none match"):
        networks.load_initial(net.backbone.model, path)
    with pytest.raises(BadRecipe, match=r"no initial weights.*hub"):
        networks.weights_file(tmp_path, "another_backbone")


def test_backbone_and_head_share_no_parameter_and_leave_none_out(net):
    backbone, head = parameters_of(net.backbones), parameters_of([net.heads])
    assert backbone == set(net.backbone.parameters())
    assert not backbone & head
    assert backbone | head == set(net.parameters())


# --- backbones of other makes ----------------------------------------------------------------------------


def with_network(recipe, **changes):
    return replace(recipe, network=replace(recipe.network, freeze=(), drop_path=0.0, **changes))


def test_backbone_from_torchvision_with_the_sum_of_three_channels_weights(tiny_recipe):
    recipe = with_network(tiny_recipe, backbone="shufflenet_v2_x0_5")
    model = networks.build(recipe, init=None).eval().backbone.model
    assert model.conv1[0].in_channels == 1
    assert model.forward_features(inputs(1)).shape == (1, 1024, 2, 3)
    grey = inputs(1)
    colour = torch.nn.Conv2d(3, 4, 3, bias=False)
    torch.testing.assert_close(backbone.with_channels(colour, 1)(grey), colour(grey.expand(-1, 3, -1, -1)))


def test_hidden_layers_of_vgg_have_no_places_and_so_no_maps(tiny_recipe):
    recipe = with_network(tiny_recipe, backbone="vgg11", options={"model": {"mlp_ratio": 0.01}})
    net = networks.build(recipe, init=None).eval()
    raw, maps, embedding = net.explain(inputs(1))
    assert maps == {}
    assert embedding.shape == (1, 4096)
    torch.testing.assert_close(net(inputs(1))["KL"], raw["KL"])


def test_model_arguments_narrow_a_backbone(tiny_recipe):
    recipe = with_network(tiny_recipe, backbone="resnet18", options={"model": {"layers": [1, 1, 1, 1]}})
    narrow = networks.build(recipe, init=None)
    assert networks.count_parameters(narrow) < 6e6
    wrong = with_network(tiny_recipe, backbone="resnet18", options={"model": {"nonsense": 1}})
    with pytest.raises(BadRecipe, match=r"backbone 'resnet18'.*nonsense"):
        networks.build(wrong, init=None)


def test_unknown_option_names_the_nearest(tiny_recipe):
    with pytest.raises(BadRecipe, match=r"unknown key 'modle'.*did you mean 'model'"):
        networks.build(with_network(tiny_recipe, options={"modle": {}}), init=None)


def test_weights_of_a_tagged_backbone_are_found_by_its_plain_name(tmp_path):
    (tmp_path / "resnet18.safetensors").touch()
    assert networks.weights_file(tmp_path, "resnet18.tv_in1k").name == "resnet18.safetensors"


def test_a_coral_head_shares_its_weights_and_its_maps_stay_exact(tiny_recipe):
    recipe = replace(tiny_recipe, loss={"default": Loss(kind="coral")})
    net = networks.build(recipe, init=None).eval()
    head = net.heads["KL"]
    assert sum(p.numel() for p in head.parameters()) == net.backbone.width + 4
    raw, maps, _ = net.explain(inputs())
    assert raw["KL"].shape == (2, 4)
    torch.testing.assert_close(maps["KL"].mean(dim=(2, 3)), raw["KL"], atol=1e-5, rtol=1e-5)
    steps = raw["KL"] - raw["KL"][:, :1]
    torch.testing.assert_close(steps[0], steps[1])  # knees differ by a shift alone
    assert (raw["KL"].diff(dim=1) < 0).all()  # and start in order


# --- graphs ----------------------------------------------------------------------------------------------


def with_random_statistics(net):
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
    return net.eval()


def test_folding_keeps_the_outputs(net):
    with_random_statistics(net)
    x = inputs(3, seed=5)
    with torch.no_grad():
        before = net(x)
        count = sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
        assert graph.fold_normalisation(net, x[:1]) == count > 0
        after = net(x)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    for task in before:
        torch.testing.assert_close(after[task], before[task], atol=1e-4, rtol=1e-4)
    assert any(before[task].std() > 1e-3 for task in before)


def test_rounded_weights_are_exact_in_half_precision(net):
    bias = net.heads["KL"].bias.clone()
    graph.round_weights(net)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.testing.assert_close(parameter.half().float(), parameter, rtol=0, atol=0)
    torch.testing.assert_close(net.heads["KL"].bias, bias, rtol=0, atol=0)
