"""The picture shows the whole platform and needs nothing but itself."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from infra.cloud_picture import cloud_picture
from infra.operations.diagram import LinkPicture, PlatformPicture, ServicePicture, SitePicture, draw
from infra.operations.stack_files import settings_of
from tests.kit.program import stack_config
from workloads.spec.recipe import load_recipe

SVG = "{http://www.w3.org/2000/svg}"


def site(name, port):
    services = (
        ServicePicture("gateway (Envoy)", f"http://127.0.0.1:{port}"),
        ServicePicture("trainer", f"{port} workers"),
    )
    return SitePicture(name, f"stand-in {name}", services)


def link(a, b, rate_mbps, rtt_ms=30.0):
    return LinkPicture((a, b), rate_mbps, rtt_ms)


TWO = PlatformPicture(
    title="Isthmus",
    subtitle="iris: a classic",
    sites=(site("aws-1", 18400), site("os-1", 18401)),
    links=(link("aws-1", "os-1", 99.8, 30.9),),
    shared=(ServicePicture("model registry (MLflow)", "http://127.0.0.1:18410"),),
)
FOUR = replace(
    TWO,
    sites=(*TWO.sites, site("aws-2", 18402), site("os-2", 18403)),
    links=(
        link("aws-1", "os-1", 1),
        link("os-1", "aws-2", 2),
        link("aws-2", "os-2", 3),
        link("aws-1", "aws-2", 4),
        link("os-1", "os-2", 5),
        link("os-2", "aws-1", 6),
    ),
)


def parse(picture):
    return ET.fromstring(draw(picture))  # noqa: S314 - of our own making


def elements(picture, tag):
    return list(parse(picture).iter(f"{SVG}{tag}"))


def texts(picture):
    return [element.text for element in elements(picture, "text")]


@pytest.mark.parametrize("picture", [TWO, FOUR], ids=["two sites", "four sites"])
def test_every_site_and_service_is_there(picture):
    seen = texts(picture)
    services = [service for place in picture.sites for service in place.services] + list(picture.shared)
    for text in (
        picture.title,
        picture.subtitle,
        *(part for place in picture.sites for part in (place.name, place.label)),
        *(part for service in services for part in (service.name, service.address)),
    ):
        assert text in seen


def test_services_are_drawn_at_their_own_site():
    groups = {group.get("id"): "".join(group.itertext()) for group in elements(TWO, "g") if group.get("id")}
    assert groups.keys() == {"site-aws-1", "site-os-1"}
    assert "18400" in groups["site-aws-1"]
    assert "18401" in groups["site-os-1"]
    assert "18401" not in groups["site-aws-1"]


def test_a_link_between_neighbours_says_its_figures():
    assert {"99.8 Mbit/s", "30.9 ms round trip"} <= set(texts(TWO))


def test_each_pair_of_sites_has_its_link():
    named = [g.find(f"{SVG}title").text for g in elements(FOUR, "g") if g.get("class") == "between"]
    assert sorted(named) == sorted(" - ".join(link.between) for link in FOUR.links)
    seen = " ".join(texts(FOUR))
    assert all(f"{link.rate_mbps:g} Mbit/s" in seen for link in FOUR.links)


@pytest.mark.parametrize("picture", [TWO, FOUR], ids=["two sites", "four sites"])
def test_cards_lie_apart_and_inside_the_picture(picture):
    root = parse(picture)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("class") == "card"
    ]
    assert len(boxes) == len(picture.sites) + len(picture.shared)
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for n, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[n + 1 :]:
            assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y


def test_one_site_alone_is_a_picture():
    alone = replace(TWO, sites=TWO.sites[:1], links=(), shared=())
    assert "aws-1" in texts(alone)


def test_nothing_is_loaded_and_nothing_runs():
    svg = draw(FOUR)
    assert re.findall(r"https?://[^\s\"'<]+", svg.replace("http://127.0.0.1:", "")) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|<use|href=|url\(|@import|\son\w+=", svg)
    assert "prefers-color-scheme: dark" in svg


def test_text_is_text_and_never_markup():
    evil = '</text><script>alert("1 & 2")</script>'
    shown = replace(TWO, title=evil, sites=(replace(TWO.sites[0], label=evil), TWO.sites[1]))
    assert "<script" not in draw(shown)
    assert evil in texts(shown)


def test_text_that_is_too_long_is_cut_short_and_whole_in_its_tooltip():
    address = "s3://" + "x" * 200
    shown = replace(TWO, shared=(ServicePicture("artefacts", address),))
    (cut,) = [text for text in texts(shown) if text.startswith("s3://")]
    assert cut.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(cut) < 60
    assert f"artefacts: {address}" in [title.text for title in elements(shown, "title")]


def test_a_long_subtitle_goes_on_in_the_next_line():
    words = "word " * 80
    lines = [text for text in texts(replace(TWO, subtitle=words)) if text.startswith("word")]
    assert len(lines) > 1
    assert " ".join(lines) == words.strip()


def test_equal_pictures_are_equal():
    assert draw(FOUR) == draw(replace(FOUR))


def test_a_link_to_nowhere_is_refused():
    with pytest.raises(ValueError, match=r"\['gcp-1'\] in a picture of sites \['aws-1', 'os-1'\]"):
        draw(replace(TWO, links=(link("aws-1", "gcp-1", 1),)))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_platform_of_clouds_is_drawn_from_its_values_alone(stack):
    settings = settings_of(stack_config(stack), stack)
    made = cloud_picture(settings, load_recipe(settings.training.recipe))
    assert [site.label.split(",")[0] for site in made.sites] == ["AWS", "OpenStack"]
    assert (made.links[0].rate_mbps, made.links[0].rtt_ms) == (settings.links[0].rate, settings.links[0].rtt_ms)
    shown = draw(made)
    (_, aws), (_, project) = settings.aws_site, settings.openstack_site
    for text in (
        str(aws.supernet),
        str(project.supernet),
        aws.gpu_pools[0].instance_type,
        settings.of_cloud.serving.host,
        "NLB, internal" if stack == "dev" else "NLB, public",
        f"Octavia, {project.supernet[11]}",
    ):
        assert text in shown
