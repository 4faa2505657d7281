"""Models in the stores: whole or not there, and whatever interrupts a delivery, the former one is served."""

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.artefacts import make_signing_keys, make_table_model, write_manifest
from tests.kit.buckets import bucket
from tests.kit.processes import ROOT, run_module
from workloads.delivery import depot
from workloads.delivery.models import fetch, publish
from workloads.spec.artifact import SIGNATURE, RegisterResult
from workloads.spec.delivery import BackupLaunch, Delivered, FetchLaunch, PublishLaunch, Store
from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe

IRIS = load_recipe("iris")
SITES = ("aws-1", "os-1")


class PulledPlugError(Exception):
    """What ends a process between two of its steps."""


@dataclass
class Delivery:
    """Two sites with a store each, and a pair of keys."""

    folder: Path
    stores: dict[str, Store]

    def __post_init__(self):
        self.keys = make_signing_keys(self.folder / "keys")

    def model(self, version: str, note: str = "") -> PublishLaunch:
        model, registered = self.folder / f"model-{version}", self.folder / f"registered-{version}.json"
        make_table_model(model, IRIS)
        (model / "note.txt").write_text(f"version {version}{note}", encoding="utf-8")
        write_manifest(model, IRIS, "compressed")
        RegisterResult(
            name="iris", version=version, alias="champion", run_id="r", url="http://r", model_digest="d" * 64, wall_s=1
        ).save(registered)
        return PublishLaunch(
            model=model,
            registered=registered,
            run_id=f"run-{version}",
            signing_key=self.keys.private,
            alias="champion",
            stores=self.stores,
        )

    def fetch(self, site: str, run_id: str | None = None) -> tuple[Delivered, str]:
        folder = self.folder / "pods" / site
        launch = FetchLaunch(
            stores=(self.stores[site],),
            recipe="iris",
            alias="champion",
            run_id=run_id,
            public_keys=(self.keys.public,),
            folder=folder,
        )
        delivered = fetch(launch, lambda _: None, wait=_never)
        return delivered, (folder / "model" / "note.txt").read_text(encoding="utf-8")


def _never(_):
    raise TimeoutError("it waits")


@pytest.fixture
def delivery(tmp_path):
    return Delivery(tmp_path, {site: Store(address=f"file://{tmp_path}/stores/{site}") for site in SITES})


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    with bucket(monkeypatch) as address:
        yield Delivery(tmp_path, {site: Store(address=f"{address}/{site}") for site in SITES})


@pytest.mark.parametrize("kind", ["delivery", "buckets"])
def test_what_is_published_is_fetched_at_every_site(kind, request):
    delivery = request.getfixturevalue(kind)
    published = publish(delivery.model("1"), lambda _: None)
    for site in SITES:
        assert delivery.fetch(site, "run-1") == (published, "version 1")
    assert Delivered.load(delivery.folder / "pods" / "os-1" / "delivered.json").version == "1"


def test_a_model_that_is_published_again_is_not_written_again(delivery, monkeypatch):
    launch = delivery.model("1")
    publish(launch, lambda _: None)
    monkeypatch.setattr(depot.Depot, "_put", lambda *_: pytest.fail("a file was put again"))
    publish(launch, lambda _: None)


def test_a_model_that_is_made_again_elsewhere_keeps_its_name_and_signature(delivery):
    launch = delivery.model("1")
    first = publish(launch, lambda _: None)
    (launch.model / SIGNATURE).unlink()  # a pod that starts from nothing
    assert publish(launch, lambda _: None) == first
    for pointer in delivery.folder.glob("stores/*/models/iris/runs/run-1.json"):
        pointer.unlink()  # the attempt before was interrupted after the alias had moved
    (launch.model / SIGNATURE).unlink()
    assert publish(launch, lambda _: None) == first


def test_with_a_new_key_a_model_is_signed_anew(delivery):
    launch = delivery.model("1")
    first = publish(launch, lambda _: None)
    delivery.keys = make_signing_keys(delivery.folder / "new-keys")
    second = publish(launch.model_copy(update={"signing_key": delivery.keys.private}), lambda _: None)
    assert second.content != first.content
    assert delivery.fetch("os-1", "run-1")[0] == second


def test_whatever_interrupts_a_delivery_the_former_model_or_the_new_one_is_served(delivery, monkeypatch):
    publish(delivery.model("1"), lambda _: None)
    launch, stores = delivery.model("2"), delivery.folder / "stores"
    shutil.copytree(stores, delivery.folder / "before")
    served = []
    for steps in range(100):
        shutil.rmtree(stores)
        shutil.copytree(delivery.folder / "before", stores)
        with monkeypatch.context() as patch:
            _pull_the_plug_after(steps, patch)
            try:
                publish(launch, lambda _: None)
                finished = True
            except PulledPlugError:
                finished = False
        served.append(tuple(delivery.fetch(site)[1] for site in SITES))
        if finished:
            break
        publish(launch, lambda _: None)  # the next attempt mends whatever was left half done
        assert [delivery.fetch(site, "run-2")[1] for site in SITES] == ["version 2"] * 2
    assert len(served) > 10
    old, new = "version 1", "version 2"
    assert [pair for pair, _ in itertools.groupby(served)] == [(old, old), (new, old), (new, new)]


def _pull_the_plug_after(steps, patch):
    real, left = depot.Depot._asked, iter(range(steps))

    def asked(self, what, ask):
        if next(left, None) is None:
            raise PulledPlugError
        return real(self, what, ask)

    patch.setattr(depot.Depot, "_asked", asked)


def test_a_replica_of_a_run_waits_for_it_while_another_model_is_served(delivery):
    publish(delivery.model("1"), lambda _: None)
    with pytest.raises(TimeoutError, match="it waits"):
        delivery.fetch("os-1", "run-2")
    publish(delivery.model("2"), lambda _: None)
    assert delivery.fetch("os-1", "run-2")[1] == "version 2"
    assert delivery.fetch("os-1", "run-1")[1] == "version 2"


def test_an_alias_that_was_set_back_is_obeyed(delivery):
    publish(delivery.model("1"), lambda _: None)
    pointer = delivery.folder / "stores" / "aws-1" / "models" / "iris" / "champion.json"
    former = pointer.read_bytes()
    publish(delivery.model("2"), lambda _: None)
    pointer.write_bytes(former)
    assert delivery.fetch("aws-1", "run-2")[1] == "version 1"


def test_a_store_without_a_model_or_without_an_answer_is_waited_for(delivery):
    said = []
    gone = Store(address="nowhere://models")
    for store in (delivery.stores["aws-1"], gone):
        launch = FetchLaunch(
            stores=(store,),
            recipe="iris",
            alias="champion",
            public_keys=(delivery.keys.public,),
            folder=delivery.folder / "p",
        )
        with pytest.raises(TimeoutError):
            fetch(launch, said.append, wait=_never)
    assert "has no model of iris yet" in said[0]
    assert "nowhere://models cannot be opened" in said[1]
    assert "mend the address" in said[1]


def test_a_pointer_that_came_before_its_model_is_waited_for(delivery):
    published = publish(delivery.model("1"), lambda _: None)
    content = delivery.folder / "stores" / "os-1" / "models" / "iris" / published.content
    (content / "listing.json").rename(content / "later")
    with pytest.raises(TimeoutError):
        delivery.fetch("os-1")
    (content / "later").rename(content / "listing.json")
    assert delivery.fetch("os-1")[0] == published


def test_a_changed_file_is_refused_and_what_was_fetched_before_stays(delivery):
    published = publish(delivery.model("1"), lambda _: None)
    delivery.fetch("os-1")
    content = delivery.folder / "stores" / "os-1" / "models" / "iris" / published.content
    (content / "note.txt").write_text("version 9", encoding="utf-8")
    with pytest.raises(UserError, match=r"note\.txt was changed since it was delivered"):
        delivery.fetch("os-1")
    assert (delivery.folder / "pods" / "os-1" / "model" / "note.txt").read_text(encoding="utf-8") == "version 1"


def test_a_model_whose_files_and_listing_were_both_changed_is_refused_by_its_name(delivery):
    published = publish(delivery.model("1"), lambda _: None)
    content = delivery.folder / "stores" / "os-1" / "models" / "iris" / published.content
    (content / "note.txt").write_text("version 9", encoding="utf-8")
    (content / "listing.json").unlink()
    depot.Listing.of(content).save(content / "listing.json")
    with pytest.raises(UserError, match="holds something else than its name says"):
        delivery.fetch("os-1")


def test_a_model_that_another_key_has_signed_is_refused(delivery):
    publish(delivery.model("1"), lambda _: None)
    delivery.keys = make_signing_keys(delivery.folder / "other-keys")
    with pytest.raises(UserError, match="does not match its signature: Key mismatch"):
        delivery.fetch("aws-1")
    assert not (delivery.folder / "pods" / "aws-1" / "model").exists()


def test_a_model_that_was_changed_after_it_was_made_is_not_published(delivery):
    launch = delivery.model("1")
    (launch.model / "note.txt").write_text("else", encoding="utf-8")
    with pytest.raises(UserError, match="was changed since the model was made"):
        publish(launch, lambda _: None)
    assert not (delivery.folder / "stores").exists()


def test_a_platform_that_took_over_serves_the_lost_one_s_model_until_it_has_its_own(delivery):
    lost = Delivery(delivery.folder / "lost", {"aws-1": Store(address=f"file://{delivery.folder}/lost/store")})
    publish(lost.model("7"), lambda _: None)
    launch = FetchLaunch(
        stores=(delivery.stores["aws-1"], lost.stores["aws-1"]),
        recipe="iris",
        alias="champion",
        public_keys=(delivery.keys.public, lost.keys.public),
        folder=delivery.folder / "pod",
    )
    assert fetch(launch, lambda _: None, wait=_never).version == "7"
    publish(delivery.model("8"), lambda _: None)
    assert fetch(launch, lambda _: None, wait=_never).version == "8"


def test_a_listing_does_not_lead_out_of_its_folder(tmp_path):
    place = depot.Depot(Store(address=str(tmp_path / "store")))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("a", encoding="utf-8")
    place.deliver(tmp_path / "model", "m")
    place.save(depot.Listing(files={"../../a": "a" * 64}, bytes=1), "m/listing.json")
    with pytest.raises(UserError, match="leads out of the folder"):
        place.collect("m", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_profile_says_where_a_store_is_and_whose_keys_open_it(tmp_path, monkeypatch):
    with bucket(monkeypatch) as address:
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        config, keys = tmp_path / "config", tmp_path / "credentials"
        config.write_text(
            f"[profile os-1]\nregion = RegionOne\nservices = os-1\n[services os-1]\ns3 =\n  endpoint_url = {endpoint}\n",
            encoding="utf-8",
        )
        keys.write_text("[os-1]\naws_access_key_id = a\naws_secret_access_key = b\n", encoding="utf-8")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
        place = depot.Depot(Store(address=f"{address}/os-1", profile="os-1"))
        place.write("a", b"1")
        assert place.read("a") == b"1"
        place.remove("a")
        place.remove("a")
        assert place.read("a") is None


def test_a_full_disk_is_told_before_anything_is_copied(delivery, monkeypatch):
    publish(delivery.model("1"), lambda _: None)
    usage = shutil.disk_usage(delivery.folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="the copy of .* needs"):
        delivery.fetch("aws-1")


def test_a_backup_is_kept_over_the_one_before_and_recalled_from_where_there_is_one(delivery):
    file, spec, back = (delivery.folder / name for name in ("new.dump", "backup.json", "back.dump"))
    own, lost = delivery.stores["aws-1"], delivery.stores["os-1"]
    for content, stores in (("old", (lost,)), ("new", (own, lost))):
        file.write_text(content, encoding="utf-8")
        BackupLaunch(stores=stores, name="backups/registry.dump", file=file).save(spec)
        assert run_module("workloads.delivery", "keep", spec).returncode == 0
    for stores, content in (((own, lost), "new"), ((lost,), "old")):
        BackupLaunch(stores=stores, name="backups/registry.dump", file=back).save(spec)
        assert run_module("workloads.delivery", "recall", spec).returncode == 0
        assert back.read_text(encoding="utf-8") == content
    BackupLaunch(stores=(own,), name="backups/other", file=delivery.folder / "none").save(spec)
    ended = run_module("workloads.delivery", "recall", spec)
    assert ended.stdout == "backups/other: from nowhere, there is none\n"
    assert not (delivery.folder / "none").exists()


def test_what_delivers_and_registers_needs_neither_torch_nor_the_trainer():
    """Its image has neither."""
    modules = ("workloads.delivery.__main__", "workloads.delivery.models", "workloads.registry.registration")
    script = (
        f"import sys, {', '.join(modules)}; "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('workloads.trainer')])"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
