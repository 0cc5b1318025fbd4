"""The folder of the story: what it starts as, and how it is edited."""

from pathlib import Path

import yaml

from controlplane.lab.story.chapters import CHAPTERS
from controlplane.lab.story.stage import prepared
from controlplane.lab.story.told import Told


def test_nothing_is_labelled_at_the_beginning(tmp_path: Path) -> None:
    prepared(tmp_path)
    documents = [
        document
        for path in sorted(tmp_path.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and "metadata" in document
    ]
    kinds = {document["kind"] for document in documents}
    assert {"Namespace", "Deployment", "Service", "DaemonSet"} <= kinds
    assert not kinds & {"Gateway", "AuthorizationPolicy", "PeerAuthentication", "HTTPRoute"}
    labels = [document["metadata"].get("labels", {}) for document in documents]
    assert not [each for each in labels if "istio.io/dataplane-mode" in each]
    assert not [each for each in labels if "istio.io/use-waypoint" in each]


def _told(*met: bool, skipped: str = "") -> Told:
    told = Told(number=1, title="t", skipped=skipped)
    for each in met:
        told.saw("this", 1, met=each)
    return told


def test_a_step_that_saw_nothing_or_was_skipped_did_not_pass() -> None:
    assert _told(True, True).passed
    assert not _told().passed
    assert not _told(True, False).passed
    assert not _told(True, skipped="no Envoy").passed


def test_every_chapter_says_what_there_is_to_understand() -> None:
    assert len({chapter.title for chapter in CHAPTERS}) == len(CHAPTERS) == 10
    assert all(chapter.says.endswith(".") for chapter in CHAPTERS)
