"""What is remembered of a device from process to process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_device import INFO, net

from mnv2search.latency.prediction.cache import LatencyCache, Memory, default_folder
from mnv2search.latency.prediction.features import NAMES
from mnv2search.latency.prediction.predictor import Observation
from mnv2search.latency.registry import open_device

SEEN = Observation(tuple(float(i) for i in range(len(NAMES))), 7.5)


@pytest.fixture
def cache(tmp_path: Path) -> LatencyCache:
    return LatencyCache(tmp_path / "deep" / "cache")


def test_what_is_saved_is_loaded(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    assert cache.load(INFO) == Memory(reference_ms=(2.0,), observations=(SEEN,))


def test_nothing_saved_is_an_empty_memory(cache: LatencyCache) -> None:
    assert cache.load(INFO) == Memory()


def test_another_device_remembers_nothing(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    assert cache.load(replace(INFO, runtime_version="2")) == Memory()


def test_reference_levels_add_up_and_observations_are_replaced(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    cache.save(INFO, reference_ms=2.1, observations=[SEEN, SEEN])
    cache.save(INFO, reference_ms=None, observations=None)
    assert cache.load(INFO) == Memory(reference_ms=(2.0, 2.1), observations=(SEEN, SEEN))


def test_only_the_latest_reference_levels_are_kept(cache: LatencyCache) -> None:
    for level in range(1, 41):
        cache.save(INFO, reference_ms=float(level), observations=None)
    assert cache.load(INFO).reference_ms == tuple(float(level) for level in range(9, 41))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '"x"', '{"format": 1}', "[" * 100_000, "\ufeff{}"],
    ids=["empty", "cut off", "list", "no format", "string", "no features", "deep", "byte-order mark"],
)
def test_a_damaged_file_is_set_aside_with_a_warning(
    cache: LatencyCache, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    path = cache.path_of(INFO)
    path.write_text(text, encoding="utf-8")
    assert cache.load(INFO) == Memory()
    assert not path.exists()
    assert path.with_name(f"{path.name}.damaged").read_text(encoding="utf-8") == text
    assert "the latency cache is damaged" in caplog.text
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    assert cache.load(INFO) == Memory(reference_ms=(2.0,), observations=(SEEN,))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reference_ms", [0.0]),
        ("reference_ms", [-1.0]),
        ("reference_ms", [10**400]),
        ("reference_ms", 2.0),
        ("observations", [[[1.0], 7.5]]),
        ("observations", [[list(SEEN.features), 0]]),
        ("observations", [[["1"] * len(NAMES), 7.5]]),
        ("observations", [[list(SEEN.features)]]),
        ("observations", {}),
    ],
)
def test_a_value_that_cannot_be_makes_a_file_damaged(cache: LatencyCache, key: str, value: object) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    document = json.loads(cache.path_of(INFO).read_text(encoding="utf-8"))
    cache.path_of(INFO).write_text(json.dumps(document | {key: value}), encoding="utf-8")
    assert cache.load(INFO) == Memory()
    assert not cache.path_of(INFO).exists()


def test_a_file_of_a_later_version_counts_as_nothing(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    document = json.loads(cache.path_of(INFO).read_text(encoding="utf-8"))
    cache.path_of(INFO).write_text(json.dumps(document | {"format": 99}), encoding="utf-8")
    assert cache.load(INFO) == Memory()
    assert cache.path_of(INFO).exists()


def test_observations_of_other_features_are_dropped_but_the_reference_stays(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    document = json.loads(cache.path_of(INFO).read_text(encoding="utf-8"))
    document["features"] = ["other"]
    cache.path_of(INFO).write_text(json.dumps(document), encoding="utf-8")
    assert cache.load(INFO) == Memory(reference_ms=(2.0,))


def test_no_half_written_file_is_left(cache: LatencyCache) -> None:
    cache.save(INFO, reference_ms=2.0, observations=[SEEN])
    assert [p.name for p in cache.path_of(INFO).parent.iterdir()] == [f"{INFO.fingerprint}.json"]


def test_a_measurer_knows_the_reference_of_earlier_processes(cache: LatencyCache) -> None:
    with open_device("simulated") as device:
        quiet = cache.measurer(device).measure([net("a")])[0]
        cache.save(device.info, reference_ms=0.5, observations=None)
        warned = cache.measurer(device).measure([net("a")])[0]
    assert (quiet.noisy, warned.noisy) == (False, True)


def test_a_predictor_knows_the_networks_of_earlier_processes(cache: LatencyCache) -> None:
    with open_device("simulated") as device:
        cache.save(device.info, reference_ms=None, observations=[SEEN])
        assert cache.predictor(device).observations == (SEEN,)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"MNV2SEARCH_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/latency"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/mnv2search/latency"),
        ({"XDG_CACHE_HOME": ""}, (Path.home() / ".cache/mnv2search/latency").as_posix()),
    ],
    ids=["own", "xdg", "home"],
)
def test_the_folder_follows_the_environment(environment: dict[str, str], folder: str) -> None:
    assert default_folder(environment).as_posix() == folder
