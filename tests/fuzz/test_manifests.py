"""Garbage among manifests: a Problem each, and nothing else changes."""

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.manifests.documents import Limits
from controlplane.manifests.reading import identity_of, read_documents
from controlplane.sources.paths import read_paths
from tests.fuzz.manifest_mutations import CORPUS, MUTATIONS, Mutation, named, spoiled

FOLDERS = 500
LIMITS = Limits(bytes=64 * 1024, values=10_000)


def test_the_corpus_is_valid() -> None:
    reading = read_documents(yaml.safe_dump_all(CORPUS))
    assert (len(reading.documents), reading.problems) == (len(CORPUS), ())


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_every_mutation_gives_a_problem_and_no_object(mutation: Mutation) -> None:
    random_ = random.Random(mutation.__name__)
    for _ in range(200):
        text = mutation(named(random_.choice(CORPUS), "garbage"), random_)
        reading = read_documents(text, "f.yaml", limits=LIMITS)
        assert reading.problems, text
        assert reading.documents == (), text
        assert all(problem.file == "f.yaml" for problem in reading.problems)


@pytest.mark.proves("MF-1")
def test_garbage_in_a_list_does_not_hurt_its_neighbours() -> None:
    random_ = random.Random(2)
    for _ in range(100):
        good = [named(value, f"good-{n}") for n, value in enumerate(CORPUS)]
        bad = named(random_.choice(CORPUS), "bad")
        bad["metadata"]["labels"] = random_.choice([7, [], "x", {"a": 1}, {"a": None}])
        items = [*good[:5], bad, *good[5:]]
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        reading = read_documents(yaml.safe_dump(listed))
        assert len(reading.documents) == len(good)
        assert [problem.object.name for problem in reading.problems if problem.object] == ["bad"]


def test_garbage_in_folders_changes_nothing(tmp_path: Path) -> None:
    random_ = random.Random(3)
    for number in range(FOLDERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        chosen = random_.sample(CORPUS, 3)
        for position, value in enumerate(chosen):
            (folder / f"m{position}.yaml").write_text(yaml.safe_dump(named(value, f"g{position}")))
        before = read_paths([folder], limits=LIMITS)
        assert (len(before.objects), before.problems) == (3, ())
        garbage = [random_.choice(["a", "n", "z"]) + f"{n}.yaml" for n in range(2)]
        for name in garbage:
            text = spoiled(random_, "garbage")
            (folder / name).write_bytes(text.encode())
        after = read_paths([folder], limits=LIMITS)
        assert after.objects == before.objects
        assert {Path(problem.file or "").name for problem in after.problems} == set(garbage)


@given(
    st.binary(max_size=200),
    st.integers(0, 400),
    st.integers(0, 100),
    st.integers(0, len(CORPUS) - 1),
)
def test_no_bytes_crash_the_reader(noise: bytes, start: int, cut: int, index: int) -> None:
    text = yaml.safe_dump(CORPUS[index]).encode()
    reading = read_documents(text[:start] + noise + text[start + cut :], "f.yaml", limits=LIMITS)
    for document in reading.documents:
        assert identity_of(document.manifest) == document.identity


@given(st.text(alphabet="{}[]:,-&*?!|>'\"#%@ \n\tab01~<", max_size=120))
def test_no_syntax_crashes_the_reader(text: str) -> None:
    for file in ("f.yaml", "f.json", "meshconfig.yaml"):
        reading = read_documents(text, file, limits=LIMITS)
        assert reading.readable or reading.problems
