"""Records survive kills, full disks and edits, or say where they do not."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Iterable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from random import Random

import pytest

from mnv2search.accuracy.evaluators.recorded import content_hash
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.atomic import write_text
from mnv2search.cost import cost_of
from mnv2search.errors import RecordError
from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.results.manifest import MANIFEST, Manifest, RunSettings, read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, Record, RecordWriter, line_of, read_records
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.space import Axis, Pick, SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space, load_spec


def record(trial: int = 0, *, latency_ms: float = 100.0) -> Record:
    with open_device("simulated") as device:
        evaluation = evaluate_spec(
            load_spec("mobilenet_v2_0.35_96"),
            device=device,
            evaluator=open_evaluator("imagenet"),
            budget=Budget(latency_ms=latency_ms, params=2_000_000),
        )
    return Record(trial=trial, stage="search", evaluation=evaluation, pick=(1, 0, 2))


def manifest(space: str = "mnv2search: 1\n") -> Manifest:
    with open_device("simulated") as device:
        info = device.info
    return Manifest(
        name="run",
        command=("mnv2search", "run"),
        versions={"python": "3"},
        device=info,
        evaluator="imagenet",
        budget=Budget(latency_ms=15.0),
        seed=0,
        space_name="mnv2",
        space=space,
        created_at="2026-01-01T00:00:00+00:00",
        settings=RunSettings(trials=3),
    )


@pytest.mark.parametrize("latency_ms", [100.0, 0.001], ids=["fits", "does not fit"])
def test_what_is_written_is_read_back(tmp_path: Path, latency_ms: float) -> None:
    written = [record(i, latency_ms=latency_ms) for i in range(3)]
    writer = RecordWriter(tmp_path / EVALUATIONS)
    for one in written:
        writer.write(one)
    assert read_records(tmp_path) == tuple(written)


def test_a_training_that_was_stopped_is_read_back_as_one(tmp_path: Path) -> None:
    whole = record()
    stopped = replace(whole.evaluation, accuracy=None, curve=((1, 0.25), (3, 0.5)), expected=0.625)
    RecordWriter(tmp_path / EVALUATIONS).write(replace(whole, evaluation=stopped))
    assert read_records(tmp_path)[0].evaluation == stopped
    assert stopped.is_stopped
    assert not whole.evaluation.is_stopped


def test_a_line_of_before_there_were_curves_is_read(tmp_path: Path) -> None:
    written = record()
    RecordWriter(tmp_path / EVALUATIONS).write(written)
    line = json.loads((tmp_path / EVALUATIONS).read_text())
    del line["curve"], line["expected"]
    (tmp_path / EVALUATIONS).write_text(json.dumps(line) + "\n")
    assert read_records(tmp_path) == (written,)


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_loses_that_line_only(tmp_path: Path, kept: int) -> None:
    path = tmp_path / EVALUATIONS
    writer = RecordWriter(path)
    writer.write(record(0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    assert len(read_records(tmp_path)) == 1
    RecordWriter(path).write(record(1))
    assert [r.trial for r in read_records(tmp_path)] == [0, 1]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / EVALUATIONS
    writer = RecordWriter(path)
    writer.write(record(0))
    line = path.read_text()
    path.write_text(line + "{not json}\n" + line)
    with pytest.raises(RecordError, match=r"evaluations\.jsonl:2: is not a record"):
        read_records(tmp_path)


@pytest.mark.parametrize("key", ["spec", "budget", "latency", "stage", "pick"])
def test_a_line_without_a_key_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / EVALUATIONS
    RecordWriter(path).write(record(0))
    data = json.loads(path.read_text())
    del data[key]
    path.write_text(json.dumps(data) + "\n")
    with pytest.raises(RecordError, match=r"evaluations\.jsonl:1"):
        read_records(tmp_path)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        read_records(tmp_path / "nowhere")


def test_a_manifest_is_read_back(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "nonsense"])
def test_a_broken_manifest_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(RecordError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_the_hash_of_the_space_tells_spaces_apart() -> None:
    assert manifest("a").space_hash != manifest("b").space_hash


def test_a_network_has_one_hash_whatever_its_name() -> None:
    from dataclasses import replace

    spec = load_spec("mobilenet_v2_0.35_96")
    assert content_hash(spec) == content_hash(replace(spec, name="other"))
    assert content_hash(spec) != content_hash(replace(spec, width=0.5))


def test_a_file_that_cannot_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "inside").write_text("kept")
    with pytest.raises(RecordError, match="cannot be written"):
        write_text(target, "text")
    assert (target / "inside").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / EVALUATIONS
    writer = RecordWriter(path)
    writer.write(record(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(RecordError, match="cannot be written: File too large"):
            writer.write(record(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write(record(2))
    assert [r.trial for r in read_records(tmp_path)] == [0, 2]


def test_a_name_that_no_file_can_have_is_told_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"n\.txt: cannot be written: File name too long"):
        write_text(tmp_path / f"{'n' * 300}.txt", "text")


def rewritten(folder: Path, **changes: object) -> None:
    """Change values of the only record of a folder."""
    path = folder / EVALUATIONS
    RecordWriter(path).write(record())
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) + "\n")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"trial": 10**400}, r"expected `int` <= 99999999 - at `\$\.trial`"),
        ({"trial": True}, r"expected `int`, got `bool` - at `\$\.trial`"),
        ({"elapsed_s": -1.0}, r"expected `float` >= 0\.0"),
        ({"expected": 10**400}, "number out of range"),
        ({"stage": "later"}, "invalid enum value 'later'"),
        ({"pick": [-1]}, "expected `int` >= 0"),
        ({"curve": [[1]]}, "expected `array` of length 2"),
        ({"name": "other"}, "its spec is not the network 'other'"),
        ({"spec": "mnv2search: 1\nname: ../x\nblocks: [[6, 8, 1, 2]]\n"}, "name is '../x'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    rewritten(tmp_path, **changes)
    with pytest.raises(RecordError, match=rf"evaluations\.jsonl:1: is not a record \({what}") as caught:
        read_records(tmp_path)
    assert "mnv2search verify --repair" in caught.value.hint


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[" * 100_000, b"null", b"1" * 5000, b'{"format":1,"spec":"\\ud800"}'], ids=range(5)
)
def test_bytes_that_are_no_record_are_refused_with_their_line(tmp_path: Path, line: bytes) -> None:
    (tmp_path / EVALUATIONS).write_bytes(line + b"\n")
    with pytest.raises(RecordError, match=r"evaluations\.jsonl:1: is not a record"):
        read_records(tmp_path)


@pytest.mark.parametrize("pick", [(99, 0), (0,), (0, 0, 0), (0, 2**40)])
def test_a_pick_that_is_not_of_the_space_is_refused(tmp_path: Path, pick: tuple[int, ...]) -> None:
    rewritten(tmp_path, pick=pick)
    with pytest.raises(RecordError, match="the pick"):
        read_records(tmp_path, space=load_space("mnv2-multipliers"))


def test_a_pick_of_another_network_is_refused(tmp_path: Path) -> None:
    space = load_space("mnv2-multipliers")
    rewritten(tmp_path, pick=[0] * len(space.axes))
    with pytest.raises(RecordError, match="its spec is not the network"):
        read_records(tmp_path, space=space)


def record_of(space: SearchSpace, pick: Pick, *, trial: int) -> Record:
    """A record of a network of a space."""
    spec = replace(resolve(space, pick), name=f"{space.name}-{trial:04d}")
    evaluation = replace(record().evaluation, spec=spec, cost=cost_of(spec))
    return Record(trial=trial, stage="search", evaluation=evaluation, pick=pick)


def write_records(folder: Path, records: Iterable[Record]) -> None:
    """Write a file of records."""
    (folder / EVALUATIONS).write_text("".join(map(line_of, records)))


@pytest.mark.parametrize("name", ["mnv2", "mnv2-multipliers", "ssdlite", "deeplab-513"])
def test_records_whose_networks_are_built_late_equal_those_built_at_once(tmp_path: Path, name: str) -> None:
    space, random = load_space(name), Random(0)
    written = [record_of(space, random_pick(space, random), trial=trial) for trial in range(20)]
    finals = [replace(one, trial=-1, stage="final", pick=()) for one in written[:3]]
    write_records(tmp_path, [replace(record(-1), stage="baseline", pick=()), *written, *finals])
    late = read_records(tmp_path, space=space, builds=False)
    at_once = read_records(tmp_path, space=space)
    assert late == at_once
    assert at_once == late
    assert [hash(one.evaluation) for one in late] == [hash(one.evaluation) for one in at_once]
    assert {type(one.evaluation) for one in at_once} == {Evaluation}


def test_an_evaluation_whose_network_is_built_late_can_be_changed_and_copied(tmp_path: Path) -> None:
    space = load_space("mnv2")
    write_records(tmp_path, [record_of(space, (0,) * len(space.axes), trial=0)])
    (late,) = read_records(tmp_path, space=space, builds=False)
    other = replace(late.evaluation, spec=load_spec("mobilenet_v2_0.35_96"), seed=7)
    assert (other.name, other.spec.name, other.seed) == ("mobilenet_v2_0.35_96", "mobilenet_v2_0.35_96", 7)
    assert copy.deepcopy(late.evaluation) == late.evaluation
    assert late.evaluation != other
    with pytest.raises(FrozenInstanceError):
        late.evaluation.spec = other.spec  # type: ignore[misc]


def test_a_network_is_built_when_it_is_first_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("mnv2")
    write_records(tmp_path, [record_of(space, (0,) * len(space.axes), trial=trial) for trial in range(3)])
    built: list[Pick] = []

    def counted(space: SearchSpace, pick: Pick) -> ModelSpec:
        built.append(pick)
        return resolve(space, pick)

    monkeypatch.setattr("mnv2search.results.records.resolve", counted)
    late = read_records(tmp_path, space=space, builds=False)
    assert [one.evaluation.name for one in late] == ["mnv2-0000", "mnv2-0001", "mnv2-0002"]
    assert not built
    assert late[1].evaluation.spec.name == late[1].evaluation.spec.name == "mnv2-0001"
    assert len(built) == 1


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("spec", "mnv2search: 1\nname: mnv2-0000\nblocks: [[6, 8, 1, 2]]\n", "its spec is not the network"),
        ("spec", "nonsense", ""),
        ("name", "other", "its spec is not the network 'other'"),
        ("name", "../victim", "name is '../victim'"),
        ("pick", [99] * 61, "the pick has index 99"),
        ("latency", {}, "missing required field"),
    ],
)
def test_a_damaged_line_is_named_though_networks_are_built_late(
    tmp_path: Path, key: str, value: object, what: str
) -> None:
    space = load_space("mnv2")
    first, second = (line_of(record_of(space, (n,) * len(space.axes), trial=n)) for n in range(2))
    damaged = json.dumps(json.loads(first) | {key: value})
    (tmp_path / EVALUATIONS).write_text(f"{second}{damaged}\n")
    with pytest.raises(RecordError, match=rf"evaluations\.jsonl:2: is not a record \(.*{what}"):
        read_records(tmp_path, space=space, builds=False)


def test_a_second_network_of_the_same_name_is_refused_though_networks_are_built_late(tmp_path: Path) -> None:
    space = load_space("mnv2")
    write_records(tmp_path, [record_of(space, (n,) * len(space.axes), trial=0) for n in range(2)])
    with pytest.raises(RecordError, match=r":2: is not a record \(an earlier line has a different network"):
        read_records(tmp_path, space=space, builds=False)


def test_a_pick_whose_layers_do_not_fit_together_is_named_when_it_is_used(tmp_path: Path) -> None:
    rows = (BlockSpec(channels=8, expansion=1, kernel=7, residual="off"),)
    space = SearchSpace(
        template=ModelSpec(name="odd", blocks=rows, resolution=32, padding="valid"),
        axes=(Axis(at="resolution", options=(32, 8)),),
    )
    line = json.loads(line_of(record_of(space, (0,), trial=0)))
    spec = line["spec"].replace("resolution: 32", "resolution: 8")
    (tmp_path / EVALUATIONS).write_text(json.dumps(line | {"pick": [1], "spec": spec}) + "\n")
    with pytest.raises(RecordError, match=r"evaluations\.jsonl:1: is not a record \(.*padding valid leaves nothing"):
        _ = [one.evaluation.spec for one in read_records(tmp_path, space=space, builds=False)]


@pytest.mark.parametrize("torn", [b"x", b"x" * 70_000, b"x" * 200_000], ids=len)
@pytest.mark.parametrize("whole", [b"", b"{}\n", b"y" * 70_000 + b"\n"], ids=len)
def test_only_an_incomplete_last_line_is_removed(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    (tmp_path / EVALUATIONS).write_bytes(whole + torn)
    RecordWriter(tmp_path / EVALUATIONS)
    assert (tmp_path / EVALUATIONS).read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"settings": {"trials": 3, "unknown": 1}}, "object contains unknown field `unknown`"),
        ({"settings": {"trials": 0}}, "expected `int` >= 1"),
        ({"status": "lost"}, "invalid enum value 'lost'"),
        ({"elapsed_s": 10**400}, "number out of range"),
        ({"budget": {"latency_ms": -1.0}}, "latency_ms is -1.0"),
        (
            {"device": {"name": "x", "hardware": "", "runtime": "", "runtime_version": "", "threads": 10**400}},
            "threads",
        ),
        ({"command": "mnv2search run"}, "expected `array`, got `str`"),
        ({"format": 2}, "has format 2; this version reads format 1"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_manifest_with_a_value_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    write_manifest(tmp_path, manifest())
    path = tmp_path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(RecordError, match=rf"manifest\.json: .*{what}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b'{"format":' + b"1" * 5000 + b"}"], ids=range(3))
def test_bytes_that_are_no_manifest_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(RecordError, match=r"manifest\.json: is not a manifest"):
        read_manifest(tmp_path)
