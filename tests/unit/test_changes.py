from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.changes import Difference, compare
from gateway.settings import Settings
from tests.support.config import LINE, TEMPLATE, Folder


def _both(tmp_path: Path) -> tuple[Folder, Settings]:
    folder = Folder(tmp_path)
    folder.write("lines/pl2.yaml", LINE.replace("pl1", "pl2").replace("id: bus", "id: other"))
    folder.device("{id: meter, template: acme-m1}")
    folder.write(
        "gateway.yaml", "gateway: gw1\nsite: wuxi\nsinks: {mqtt: {host: a}, influxdb: {url: 'http://b', bucket: c}}\n"
    )
    return folder, folder.load()


def test_the_same_files_loaded_twice_are_no_change(tmp_path: Path) -> None:
    folder, before = _both(tmp_path)
    changes = compare(before, folder.load())
    assert changes.nothing
    assert str(changes) == "nothing changed"
    assert not changes.needs_restart


def test_a_changed_template_changes_the_links_that_use_it_alone(tmp_path: Path) -> None:
    folder, before = _both(tmp_path)
    folder.write("templates/acme-m1.yaml", TEMPLATE.replace("register: 72", "register: 74"))
    changes = compare(before, folder.load())
    assert changes.links == Difference(changed=("bus",))
    assert changes.devices == Difference(changed=("wuxi/pl1/meter",))
    assert not changes.sinks


def test_a_renamed_link_keeps_its_devices(tmp_path: Path) -> None:
    folder, before = _both(tmp_path)
    folder.write("lines/pl2.yaml", LINE.replace("pl1", "pl2").replace("id: bus", "id: renamed"))
    changes = compare(before, folder.load())
    assert changes.links == Difference(added=("renamed",), removed=("other",))
    assert not changes.devices


def test_sinks_and_log_and_api_are_compared_one_by_one(tmp_path: Path) -> None:
    folder, before = _both(tmp_path)
    folder.write(
        "gateway.yaml", "gateway: gw1\nsite: wuxi\nsinks: {mqtt: {host: a, port: 1884}}\nlog: {level: debug}\n"
    )
    changes = compare(before, folder.load())
    assert changes.sinks == Difference(removed=("influxdb",), changed=("mqtt",))
    assert (changes.log, changes.api, bool(changes.links)) == (True, False, False)


def test_names_and_journal_stay_until_a_restart(tmp_path: Path) -> None:
    folder, before = _both(tmp_path)
    after = folder.load()
    journal = after.journal.model_copy(update={"max_size_mb": 100})
    changes = compare(before, replace(after, gateway="other", journal=journal))
    assert changes.settings.gateway == "gw1"
    assert changes.settings.journal == before.journal
    assert [sentence.split(":")[0] for sentence in changes.needs_restart] == ["gateway", "journal.max_size_mb"]
    assert changes.nothing
