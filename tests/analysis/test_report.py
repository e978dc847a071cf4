"""The report's files and numbers, and the page in a real browser."""

import csv
import getpass
import re
import shutil

import pytest

from analysis import comparison, run_records
from analysis.figures import colours
from analysis.reporting import report, report_figures
from core import checks

SEQUENCE = {
    "environment.games": ("boxing", "breakout"),
    "environment.frames_per_game": 48,
    "num_frames": 192,
}
PAGE = report.Options(title="Rainbow & <NaP>")
_CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Chromium's sandbox does not work for root.
    *(["--no-sandbox"] if getpass.getuser() == "root" else []),
]


@pytest.fixture
def found(make_run):
    """Two agents on two games with two seeds, and a continual run beside its control."""
    paths = []
    for name, gain in (("rainbow", 0.0), ("rainbow_nap", 6.0)):
        for game in ("boxing", "breakout"):
            for seed in (1, 2):
                paths.append(make_run(name, game, seed, [(100, 0, None, 6.1 + gain + seed)]))
    for name, gain in (("continual_nap", 3.0), ("continual_reset", 0.0)):
        rows = [(48 * (i + 1), i, ("boxing", "breakout")[i % 2], 5.0 + gain * i) for i in range(4)]
        rows += [(96, 1, "boxing", 1.0)]
        paths.append(make_run(name, "small", 1, rows, **SEQUENCE))
    return [run_records.load(path) for path in paths]


@pytest.fixture
def written(found, tmp_path):
    report.write(found, tmp_path / "report", PAGE)
    return tmp_path / "report"


def read(path):
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_tables_have_the_numbers(written):
    games = read(written / "single_games.csv")
    assert games[0] == ["game", "rainbow", "rainbow_nap"]
    assert games[1] == ["boxing", "7.6 (7.1, 8.1)", "13.6 (13.1, 14.1)"]
    aggregates = {row[0]: row for row in read(written / "single_aggregates.csv")}
    # Boxing (7.6 - 0.1) / 12 = 0.625, breakout (7.6 - 1.7) / 28.8 = 0.2049; their mean:
    assert aggregates["rainbow"][3].startswith("0.415 [")
    assert aggregates["rainbow"][-2:] == ["2", "2"]
    passes = read(written / "sequence_1_passes.csv")
    assert passes[1] == ["boxing", "5.0", "11.0", "5.0", "5.0"]
    change = {row[0]: row for row in read(written / "sequence_1_change.csv")}
    # Of two scores the IQM is their mean: boxing +6 / 12, breakout +6 / 28.8.
    assert change["continual_nap"][3].startswith(f"{(0.5 + 6 / 28.8) / 2:+.3f}")
    assert change["continual_reset"][4] == ""
    assert change["continual_nap"][4].startswith(f"{(6 / 12 + 9 / 28.8) / 2:+.3f}")


def test_a_pass_under_way_is_not_shown_as_complete(make_run, tmp_path):
    """Of two seeds one is in the last game, which was evaluated early."""
    paths = []
    for seed, frames, last in ((1, 192, 12.1), (2, 168, 99.0)):
        rows = [(48, 0, "boxing", 0.1), (96, 1, "breakout", 1.7), (144, 2, "boxing", 6.1)]
        rows += [(96, 1, "boxing", 6.1), (frames, 3, "boxing", 12.1), (frames, 3, "breakout", last)]
        paths.append(make_run("continual_nap", "small", seed, rows, frames, **SEQUENCE))
    arms = comparison.make_arms([run_records.load(path) for path in paths])
    axes = report_figures.pass_returns(arms).axes
    assert [axis.get_ylabel() for axis in axes] == ["evaluation return"] * 2
    report.write([run for arm in arms for run in arm.runs], tmp_path / "report", PAGE)
    passes = read(tmp_path / "report" / "sequence_1_passes.csv")
    assert passes[2] == ["breakout", "1.7 (1.7, 1.7)", "12.1"]
    (_, row) = read(tmp_path / "report" / "sequence_1_change.csv")
    # (6.1 - 0.1) / 12 and (12.1 - 1.7) / 28.8 of seed 1
    assert row[:3] == ["continual_nap", "0.000", "0.431 (1 of 2 seeds)"]
    (_, row) = read(tmp_path / "report" / "sequence_1_transfer.csv")
    assert row[0] == "continual_nap (1 of 2 seeds)"


def test_more_than_ten_agents_have_colours_of_their_own(make_run):
    assert len({colours.colour(i, 25) for i in range(25)}) == 25
    run = run_records.load(make_run("rainbow", "boxing", 1, []))
    named = [run._replace(config={**run.config, "name": f"agent_{k}"}) for k in range(14)]
    arms = comparison.make_arms(named)
    (axis,) = report_figures.curves(arms, ["boxing"]).axes
    labelled = [line for line in axis.lines if line.get_label().startswith("agent")]
    assert len({line.get_color() for line in labelled}) == 14


def test_every_run_is_listed_with_its_commit(written):
    rows = read(written / "runs.csv")
    assert len(rows) == 1 + 10
    assert {row[4] for row in rows[1:]} == {"0123456789ab"}


def test_page_is_self_contained_and_escaped(written):
    page = (written / "index.html").read_text()
    assert "Rainbow &amp; &lt;NaP&gt;" in page
    assert "<NaP>" not in page
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    names = {path.stem for path in written.glob("*.png")}
    parts = ("curves", "aggregates", "profiles", "improvements", "layers")
    assert {f"single_{part}" for part in parts} <= names
    assert {"sequence_1_passes", "sequence_1_transfer_1"} <= names
    assert page.count("<img") == len(names)


def test_nothing_is_overwritten_and_nothing_written_in_vain(found, tmp_path, make_run):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine").write_text("")
    with pytest.raises(checks.ConfigError, match="not empty"):
        report.write(found, tmp_path / "report", PAGE)
    other = make_run("rainbow_ln", "boxing", 1, [], **{"environment.protocol": "machado"})
    with pytest.raises(checks.ConfigError, match="different protocols"):
        report.write([*found, run_records.load(other)], tmp_path / "new", PAGE)
    assert not (tmp_path / "new").exists()
    with pytest.raises(checks.ConfigError, match="no runs"):
        report.write([], tmp_path / "new", PAGE)


def test_runs_without_evaluations_make_a_report_too(make_run, tmp_path):
    single = make_run("rainbow", "boxing", 1, [])
    sequence = make_run("continual_rainbow", "small", 1, [], frames=100)
    report.write([run_records.load(single), run_records.load(sequence)], tmp_path / "report", PAGE)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "no evaluation yet" in page
    assert "unfinished" in page
    assert not (tmp_path / "report" / "sequence_1_passes.png").exists()


def test_what_was_not_measured_has_no_figure(make_run, tmp_path):
    path = make_run("rainbow", "boxing", 1, [])
    (path / "layers.csv").unlink()
    report.write([run_records.load(path)], tmp_path / "report", PAGE)
    assert {file.stem for file in (tmp_path / "report").glob("*.png")} == {"single_curves"}


def test_sequences_of_equal_length_are_kept_apart(make_run, tmp_path):
    found = []
    for name, games in (
        ("continual_nap", ("boxing", "pong")),
        ("continual_rainbow", ("pong", "qbert")),
    ):
        settings = SEQUENCE | {"environment.games": games}
        rows = [(48 * (i + 1), i, games[i % 2], 1.0) for i in range(4)]
        found.append(run_records.load(make_run(name, "small", 1, rows, **settings)))
    report.write(found, tmp_path / "report", PAGE)
    tables = [read(tmp_path / "report" / f"sequence_{i}_passes.csv") for i in (1, 2)]
    assert [row[0] for row in tables[0][1:]] == ["boxing", "pong"]
    assert [row[0] for row in tables[1][1:]] == ["pong", "qbert"]


def test_games_without_reference_scores_are_reported_raw(make_run, tmp_path):
    settings = SEQUENCE | {"environment.games": ("adventure", "carnival")}
    rows = [(48 * (i + 1), i, ("adventure", "carnival")[i % 2], 1.0) for i in range(4)]
    rows += [(96, 1, "adventure", 1.0)]
    paths = [make_run("continual_nap", "small", 1, rows, **settings)]
    paths += [make_run("rainbow", "carnival", 1, [(100, 0, None, 3.0)])]
    report.write([run_records.load(path) for path in paths], tmp_path / "report", PAGE)
    assert read(tmp_path / "report" / "single_games.csv")[1] == ["carnival", "3.0"]
    change = read(tmp_path / "report" / "sequence_1_change.csv")
    assert change[1] == ["continual_nap", "", "", "", ""]


def test_agents_without_a_game_in_common_are_not_compared(make_run, tmp_path):
    paths = [make_run("rainbow", "boxing", 1, [(100, 0, None, 1.0)])]
    paths += [make_run("rainbow_nap", "pong", 1, [(100, 0, None, 1.0)])]
    report.write([run_records.load(path) for path in paths], tmp_path / "report", PAGE)
    assert not (tmp_path / "report" / "single_improvements.png").exists()
    assert "missing: rainbow, pong, seed 1" in (tmp_path / "report" / "index.html").read_text()


def test_probes_of_one_config_are_games_of_one_agent(make_run, tmp_path):
    paths = [make_run("probe", n, 1, [(100, 0, n, float(n))], frames=6_000) for n in ("1", "2")]
    report.write([run_records.load(path) for path in paths], tmp_path / "report", PAGE)
    games = read(tmp_path / "report" / "single_games.csv")
    assert games[1:] == [["1", "1.0"], ["2", "2.0"]]


def test_a_run_of_several_starts_tells_of_all(make_run, tmp_path):
    path = make_run("rainbow", "boxing", 1, [(100, 0, None, 1.0)])
    with (path / "provenance.jsonl").open("a") as stream:
        stream.write('{"commit": "fedcba98765432", "uncommitted_changes": true}\n')
    (path / "train.csv").write_text(
        "frames,seed,elapsed_seconds\n10,1,300\n20,1,600\n30,1,60\n40,1,120\n"
    )
    with (path / "layers.csv").open("a") as stream:  # a measurement that was not written whole
        stream.write("300000000,1,torso/conv_0,2.0,0.001\n")
    report.write([run_records.load(path)], tmp_path / "report", PAGE)
    row = read(tmp_path / "report" / "runs.csv")[1]
    assert row[4] == "0123456789ab; fedcba987654 with uncommitted changes"
    assert row[6] == "12.0"


def test_output_that_is_a_file_is_refused(found, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "report"):
        with pytest.raises(checks.ConfigError, match="it is a file"):
            report.write(found, output, PAGE)


@pytest.fixture
def browser():
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=_CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 375], ids=["desktop", "phone"])
def test_page_in_a_browser(written, browser, width):
    """Every figure is there, the console is silent, and nothing sticks out to the side."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto((written / "index.html").as_uri())
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == len(list(written.glob("*.png")))
    assert min(widths) > 300
    assert messages == []
    document = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert document[0] <= document[1]
    assert page.title() == PAGE.title
    shown = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().width)")
    assert min(shown) > 300
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('li')).fontSize)")
    assert size >= 14
