"""The lab's report, drawn from what its commands have noted."""

from tests.lab.report import draw, minutes, render

UPS = [
    {
        "kind": "cold",
        "total_s": 1500.0,
        "stages": {"images": 900.0, "cluster": 60.0},
        "memory_mb": 4000,
        "disk_mb": 9000,
    },
    {"kind": "warm", "total_s": 110.0, "stages": {"images": 2.0, "cluster": 55.0}, "memory_mb": 3900, "disk_mb": 9100},
]
RECREATION = {
    "number": 1,
    "total_s": 200.0,
    "stages": {"destroy": 50.0, "pulumi up": 150.0},
    "content": "ab" * 32,
    "lost": {"round_before": 23, "resumed_after_round": 20, "interval_rounds": 10, "samples": 240},
}
VALUES = {
    "began": "2026-11-24 23:42:00",
    "machine": {"cores": 2, "memory_gib": 23.0, "kernel": "6.1"},
    "ups": UPS,
    "drills": [{"name": "up makes all", "outcome": "passed", "seconds": 61.2, "why": ""}],
    "figures": {"up_s": 61.2, "memory_mb": 5000},
    "recreations": [RECREATION, {**RECREATION, "number": 2}],
    "speed": [
        {
            "name": "link",
            "rounds": 10,
            "samples": 1000,
            "wall_s": 10.0,
            "samples_per_s": 100.0,
            "wait_s": {"aws-1": 1.0},
            "wire_bytes": 5,
        }
    ],
}


def test_the_headline_says_how_it_went():
    assert "2026-11-24 23:42:00: 1 drills passed, 61 s in all, on 2 cores, 23.0 GiB" in render(VALUES)
    failed = {
        **VALUES,
        "drills": [{"name": "a refresh agrees", "outcome": "failed", "seconds": 1, "why": "it does not"}],
    }
    assert "failed at a refresh agrees" in render(failed)
    assert "a refresh agrees: `it does not`" in render(failed)


def test_cold_and_warm_stand_beside_their_aims():
    text = render(VALUES)
    assert "|  | cold | warm |" in text
    assert "| images | 900 | 2 |" in text
    assert "| **whole lab** | **25 min 0 s** | **110 s** |" in text
    assert "| aim | 40 min 0 s | 10 min 0 s |" in text


def test_every_recreation_has_a_column():
    text = render(VALUES)
    assert "| stage, seconds | 1 | 2 |" in text
    assert "| samples of training lost | 240 | 240 |" in text


def test_what_is_not_known_has_no_section():
    assert "##" not in render({})
    assert "no drill has run" in render({})


def test_there_is_a_picture_where_there_is_something_to_draw(tmp_path):
    assert draw(VALUES, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000
    assert not draw({}, tmp_path / "nothing.png")


def test_times_are_told_as_people_tell_them():
    assert [minutes(seconds) for seconds in (4.4, 119, 120, 754)] == ["4 s", "119 s", "2 min 0 s", "12 min 34 s"]
