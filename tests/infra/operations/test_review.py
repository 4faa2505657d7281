"""A review shows first what would be lost, hides what is secret, escapes what others wrote, and fits into a comment."""

import re

import pytest
from markdown_it import MarkdownIt

from infra.operations.markdown import code, cut, plain, shown
from infra.operations.previews import parse_events, preview_of
from infra.operations.pricing import Estimate, Line
from infra.operations.review import LIMIT, marker, review
from tests.infra.operations.recorded import SECRET, cloud_change, event, line, recording, summary, tree, violation


def sections(text: str) -> list[str]:
    return re.findall(r"^#### (.+)$", text, re.MULTILINE)


def test_a_recorded_first_preview_creates_everything_and_loses_nothing():
    text = review("local", recording("local-empty"))
    assert "20 to create, 0 unchanged." in text
    assert sections(text) == ["Changes by component"]
    assert "- Site aws\\-1\n  - create `aws-1-data` (`isthmus:local:DataShard`)" in text


def test_a_recorded_preview_without_changes_says_so():
    text = review("local", recording("local-same"))
    assert "No changes: 20 unchanged." in text
    assert sections(text) == []


def test_a_recorded_replacement_of_a_run_comes_first_with_its_reason():
    text = review("local", recording("local-recipe"))
    assert sections(text)[0] == "State that would be lost"
    assert "**replace `training`** (`isthmus:local:TrainingRun`): **a run with its checkpoints**" in text
    assert "because of `folder`, `identity`" in text
    assert "4 to replace, 3 to update, 13 unchanged." in text
    assert "`spec.rate_mbps`: `100` → `50`" in text


def test_of_a_cloud_the_deleted_key_and_the_replaced_bucket_lead_and_the_rest_follows_in_order():
    cost = Estimate((Line("aws", "g6.xlarge on-demand", 2, 1175.0, 1175.0),), ("p9.xlarge",))
    text = review("prod", cloud_change(), cost, "https://example.org/log")
    assert sections(text) == ["State that would be lost", "Policy", "Cost", "Changes by component"]
    lost = text.partition("#### State")[2].partition("####")[0]
    assert lost.index("**delete `artefacts`** (`aws:kms/key:Key`)") < lost.index("**replace `artefacts`**")
    assert "protected: the engine will refuse" in lost
    assert "- mandatory `bucket-guards`: bucket artefacts lacks encryption; declare it" in text
    assert "**+1,175 USD a month**" in text
    assert "without a price: `p9.xlarge`" in text
    assert "- Artefacts artefacts\n" in text
    assert "`scalingConfig.desiredSize`: `1` → `3`" in text
    assert "1 to delete, 1 to replace, 1 to create, 1 to update" in text
    assert text.startswith(marker("prod"))
    assert text.rstrip().endswith("[The whole log](https://example.org/log).")


def test_a_secret_is_never_shown_whatever_its_name_or_mark():
    changed = {"opaque": {**SECRET, "ciphertext": "CCC"}, "password": "hunter2", "nested": {"preSharedKey": "hunter3"}}
    before = {
        "opaque": SECRET,
        "password": "hunter1",
        "nested": {"preSharedKey": "hunter0"},
        "note": "AKIAABCDEFGHIJKLMNOP",
    }
    changed["note"] = "-----BEGIN EC PRIVATE KEY-----"
    made = preview_of([event("update", "x:y:Z", "z", before, changed, diffs=[*changed]), summary()])
    text = review("prod", made)
    for part in ("hunter", "AAABBB", "CCC", "AKIAABCDEFGHIJKLMNOP", "BEGIN EC PRIVATE"):
        assert part not in text
    assert "`nested.preSharedKey`: [secret] → [secret]" in text


def test_what_others_wrote_is_neither_markup_nor_a_mention_nor_html():
    nasty = "<img src=x> @admin [x](https://evil.example) `code` | a\n# Title\n<!-- -->"
    text = review("prod", preview_of([violation("rule", nasty), summary()]))
    body = text.partition("#### Policy")[2]
    assert "<img" not in body
    assert "@admin" not in body
    assert "\n# Title" not in body
    html = MarkdownIt().render(body)
    assert "<a " not in html.replace('<a href="https://example.org', "")
    assert "<img" not in html
    assert "<h1>" not in html


@pytest.mark.parametrize("text", ["plain", "a`b", "``", "`edge`", "a\nb"])
def test_a_code_span_holds_any_text_as_it_is(text):
    html = MarkdownIt().render(code(text))
    assert "<code>" in html
    assert " ".join(text.split()) in html.replace("<p><code>", "").replace("</code></p>", "")


def test_a_long_value_is_cut_and_an_unknown_one_says_so():
    assert len(shown("note", "x" * 5000)) < 200
    assert shown("id", "04da6b54-80e4-46f7-96ec-b56ff0331ba9") == "known after the update"
    assert shown("gone", None) == "nothing"
    assert plain("a" * 5000).endswith("…")


def test_a_huge_preview_is_cut_below_githubs_limit_and_what_matters_stays():
    events = [*tree(), event("delete", "aws:s3/bucket:Bucket", "artefacts", {})]
    events += [event("create", "aws:ec2/vpc:Vpc", f"vpc-{n}-" + "ü" * 60, None, {}) for n in range(3000)]
    text = review("prod", preview_of([*events, summary()]), log="https://example.org/log")
    assert len(text.encode()) <= LIMIT
    assert len(text) < 65_536
    assert "**delete `artefacts`**" in text
    assert re.search(r"… and \d+ more lines\.", text)
    assert text.rstrip().endswith("[The whole log](https://example.org/log).")


def test_what_fits_is_not_cut():
    assert cut(["a", "b"], "end", 100) == "a\nb\nend\n"
    assert "… and 49 more lines." in cut(["line"] * 60, "end", 140)


def test_a_failed_preview_says_why_and_a_broken_one_that_it_knows_nothing():
    error = {"sequence": 1, "diagnosticEvent": {"severity": "error", "message": "quota <b>exceeded</b>\n"}}
    text = review("prod", preview_of([error, summary("failed")]))
    assert "#### The preview failed\n\n- quota &lt;b&gt;exceeded&lt;/b&gt;" in text
    assert "The engine ended before it knew what to do." in review("prod", preview_of([]))


def test_lines_that_are_no_events_are_left_out():
    made = parse_events(["a program printed this", "{}", "[1]", line(violation("r", "m")), line(summary("failed"))])
    assert [finding.rule for finding in made.findings] == ["r"]
    assert made.finished
    assert not made.succeeded
