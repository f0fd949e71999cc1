from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from povwatch.config.load import load_config
from povwatch.config.settings import Config
from povwatch.core.errors import ConfigError

SHIPPED = Path(__file__).parents[3] / "config.toml"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("POVWATCH_") or name == "STATE_DIRECTORY"]:
        monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path):
    def read(text="", **options):
        file = tmp_path / "config.toml"
        file.write_text(text)
        return load_config(file, **options)

    return read


def test_shipped_file_holds_every_default():
    shipped = load_config(SHIPPED)
    bare = load_config(None)
    keep = {"paths", "engine"}
    assert shipped.model_dump(exclude=keep) == bare.model_dump(exclude=keep)
    assert shipped.engine.model_dump(exclude={"python"}) == bare.engine.model_dump(exclude={"python"})
    assert shipped.paths.inputs == SHIPPED.parent / "inputs"


def test_shipped_file_names_every_key():
    """The file that ships names every key, with a word on why."""
    text = SHIPPED.read_text()
    named = tomllib.loads(text)
    for section, field in Config.model_fields.items():
        if section in {"hooks", "notify"}:
            continue  # there are none by default; test_documents.py looks at those that are shown
        assert set(named[section]) == set(field.annotation.model_fields), section
    keys = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    assert [line for line in keys if "#" not in line] == ['source_to = "{folder}/.done/{name}"']


def test_paths_are_relative_to_the_file(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    quality = '[quality]\nhands_model = "m.task"'
    config = load(f'[paths]\ninputs = "in"\noutputs = "/elsewhere/out"\n[spec]\ntemplates = "mine"\n{quality}')
    assert config.paths.inputs == tmp_path / "in"
    assert config.paths.outputs == Path("/elsewhere/out")
    assert config.spec.templates == str(tmp_path / "mine")
    assert config.quality.hands_model == str(tmp_path / "m.task")
    assert config.engine.python == tmp_path / "cosmos-transfer2.5/.venv/bin/python"


def test_rules_by_the_scores_direction(load):
    rules = load("[quality]\nedge_f1 = 0.6\ncolour_drift = 8\nblur_ssim_kept = {at_most = 0.9}").quality.rules
    assert [rule.words for rule in rules] == [
        "edge_f1 at least 0.6",
        "colour_drift at most 8",
        "blur_ssim_kept at most 0.9",
    ]
    assert load("").quality.rules == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("edge_f2 = 0.6", "'edge_f2' is no score and no setting: there are scores, hands_model, tries"),
        ("edge_f2 = 0.6", "did you mean 'edge_f1'?"),
        ('edge_f1 = "good"', "edge_f1 = 'good' is no number"),
        ("edge_f1 = true", "edge_f1 = True is no number"),
        ("edge_f1 = {least = 0.6}", "is no number and no {at_least = 0.6} or {at_most = 0.6}"),
        ("edge_f1 = nan", "edge_f1 = nan is no number"),
        ("scores = false\nedge_f1 = 0.6", "scores = false measures nothing, and edge_f1 is judged"),
        ("tries = 0", "quality.tries: has to be 1 or more, not 0"),
    ],
)
def test_rules_that_are_refused(load, text, said):
    with pytest.raises(ConfigError) as refused:
        load(f"[quality]\n{text}")
    assert said in str(refused.value)


def test_rule_in_the_environment(load, monkeypatch):
    monkeypatch.setenv("POVWATCH_QUALITY__EDGE_F1", "0.5")
    assert [rule.words for rule in load("").quality.rules] == ["edge_f1 at least 0.5"]


def test_durations_and_sizes_have_units(load):
    config = load('[grace]\nperiod = "90s"\nmax = "2d"\n[disk]\nreserve = "500MiB"')
    assert (config.grace.period, config.grace.max, config.disk.reserve) == (90.0, 172800.0, 524288000)


def test_environment_and_command_line(load, monkeypatch):
    """The environment goes over the file, and the command line over both."""
    text = '[grace]\nperiod = "1m"\nmax = "3d"\n[engine]\nkind = "cosmos"'
    monkeypatch.setenv("POVWATCH_GRACE__PERIOD", "2m")
    config = load(text)
    assert (config.grace.period, config.grace.max) == (120.0, 259200.0)
    config = load(text, grace="5s", engine="preview")
    assert (config.grace.period, config.engine.kind) == (5.0, "preview")


def test_state_directory_of_systemd(load, monkeypatch):
    """Under systemd the state is in STATE_DIRECTORY, unless the file says otherwise."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/povwatch:/other")
    assert load().paths.state == Path("/var/lib/povwatch")
    assert load('[paths]\nstate = "/mine"').paths.state == Path("/mine")


def test_suffixes_are_lower_case(load):
    assert load('[arrival]\nextensions = [".MP4", ".Mov"]').arrival.extensions == (".mp4", ".mov")


@pytest.mark.parametrize("kind", ["auto", "cosmos", "diffusers", "preview", "toy.py:Engine", "package.module:Class"])
def test_engines_have_a_kind_or_a_class(load, kind):
    """An engine is named by its kind, or by its file or module and class."""
    assert load(f'[engine]\nkind = "{kind}"').engine.kind == kind
    assert load(engine=kind).engine.kind == kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = ['x']\n[[hooks]]\nname = 'b'\nwhen = 'befor'\nargv = ['x']",
            "line 7: hooks.when, entry 2: has to be 'before' or 'after', not 'befor'; did you mean 'before'?",
        ),
        ("[[hooks]]\nname = 'a'\nargv = ['x']", "line 1: hooks.when, entry 1 is missing."),
        ("[[hooks]]\ntimout = '1m'", "line 2: hooks.timout, entry 1 is no setting; did you mean 'timeout'?"),
        (
            "[[notify]]\nurl = 'geheim'",
            "line 2: notify.url, entry 1: is no URL of Apprise: write it as service://..., as https://appriseit.com",
        ),
        (
            "[[notify]]\nurl = 'x://y'\n[[notify]]\nurl = ['json://geheim']",
            "line 4: notify.url, entry 2: has to be text",
        ),
        ('[[notify]]\nurl = "json://geheim\\n"', "has a control character in it: write it on one line."),
        ("[[notify]]\nurl = 'json://x'\non = ['faild']", "notify.on, entry 1, entry 1: has to be 'done', 'failed', "),
        ("[[notify]]\nulr = 'json://geheim'", "notify.ulr, entry 1 is no setting; did you mean 'url'?"),
        ("notify = ['json://geheim']", "notify, entry 1: write [[notify]] on a line of its own"),
        ("notify = 'json://geheim'", "notify: write [[notify]] on a line of its own"),
        ("[hooks]\nname = 'a'", "line 1: hooks: write [[hooks]] on a line of its own"),
        ("[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = []", "hooks.argv, entry 1: needs at least one entry"),
        ("[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = ['{viedo}']", "{viedo} is unknown, known are {video}, "),
        ("[[hooks]]\nname = 'a'\nwhen = 'before'\nargv = ['{output}']", "{output} is there after a clip only"),
        ("[[hooks]]\nname = 'A b'\nwhen = 'after'\nargv = ['x']", "line 2: hooks.name, entry 1: 'A b' is no name"),
        ("[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = ['x']\ntimeout = '0s'", "has to be more than nothing"),
        (
            "[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = ['nice', '/bin/bash', '-ec', 'mano {video}']",
            "a shell would run a clip's name as part of the script",
        ),
        (
            "[[hooks]]\nname = 'a'\nwhen = 'after'\nargv = ['x']\n" * 2,
            "line 1: hooks: two hooks are called 'a': give each a name of its own.",
        ),
        ("[grace]\nperoid = '1m'", "line 2: grace.peroid is no setting; did you mean 'period'?"),
        ("[graec]\nperiod = '1m'", "line 1: graec is no setting; did you mean 'grace'?"),
        ("[disk]\nzzz = 1", "line 2: disk.zzz is no setting; known are reserve."),
        ("[grace]\n\nperiod = 5", "line 3: grace.period: 5 is no duration: write a string with a unit"),
        ("[grace]\nperiod = '5'", "'5' is no duration"),
        ("[disk]\nreserve = '5'", "'5' is no size"),
        (
            "[engine]\nkind = 'cosmo'",
            "engine.kind: 'cosmo' is no engine: choose one of auto, cosmos, diffusers, preview; did you mean 'cosmos",
        ),
        ("[engine]\nattempts = 0", "line 2: engine.attempts: has to be 1 or more, not 0."),
        ("[engine]\nworkers = 'many'", "engine.workers"),
        ("[spec]\ncontrols = {}", "spec.controls"),
        ("[spec]\ncontrols = {blur = 1.0}", "'edge', 'vis', 'depth' or 'seg'"),
        ("[spec]\ncontrols = {edge = 1.5}", "has to be 1 or less, not 1.5"),
        ("[spec]\nguidance = 3.5", "spec.guidance"),
        ("[arrival]\nextensions = ['mp4']", "'mp4' is no file suffix: write it with its dot"),
        ("[publish]\nlayout = '{stem}.mp4'", "needs {kind}"),
        ("[publish]\nlayout = '{stem}/{knid}.mp4'", "{knid} is unknown, known are {folder}, {kind}, {stem}"),
        ("[publish]\nlayout = '/{stem}_{kind}.mp4'", "has to stay inside: no leading / and no .."),
        ("[publish]\nlayout = '../{stem}_{kind}.mp4'", "has to stay inside"),
        ("[publish]\nlayout = '{stem}_{kind}.mov'", "has to end in .mp4"),
        ("[publish]\nlayout = 'x{folder}/{stem}_{kind}.mp4'", "{folder} has to stand alone between slashes"),
        ("[publish]\nsource = 'delete'", "has to be 'keep' or 'move', not 'delete'."),
        (
            "[publish]\nsource = 'mvoe'",
            "line 2: publish.source: has to be 'keep' or 'move', not 'mvoe'; did you mean 'move'?",
        ),
        ("[arrival]\nextensions = '.mp4'", "arrival.extensions: has to be a list, such as [\"...\"], not '.mp4'."),
        ("[arrival]\nextensions = [1]", "arrival.extensions, entry 1: has to be text in quotes, not 1."),
        ("[arrival]\nrecursive = 'maybe'", "arrival.recursive: has to be true or false, not 'maybe'."),
        ("[engine]\nworkers = 'two'", "line 2: engine.workers: has to be 'auto' or a whole number, not 'two'."),
        ("[engine]\nworkers = 0", "engine.workers: has to be 'auto' or 1 or more, not 0."),
        (
            "[engine]\ncontrols = ['egde']",
            "engine.controls, entry 1: has to be 'edge', 'vis', 'depth' or 'seg', not 'egde'; did",
        ),
        ("[engine]\ncontrols = []", "line 2: engine.controls: needs at least one entry."),
        ("[spec]\ncontrols = {egde = 1}", "not 'egde'; did you mean 'edge'?"),
        ("[spec]\ncontrols = 1", "spec.controls: has to be a table, such as { name = 1.0 }, not 1."),
        ("[spec]\ncontrols = {edge = 'x'}", "line 2: spec.controls.edge: has to be a number, not 'x'."),
        ("[paths]\ninputs = 3", "line 2: paths.inputs: has to be text in quotes, not 3."),
        ("\nengine = 'cosmos'", "line 2: engine: has to be a section: write [engine] on a line of its own"),
        ("[publish]\nsource_to = 'done/{name}'", "would be watched again"),
        ("[publish]\nsource_to = '.done'", "needs {name}"),
        ("[engine]\nexact = 'fast'", "engine.exact: has to be 'rounding' or 'pipeline'"),
        ("[engine]\nexact = 'pipeline'\ncompile = true", "take one of them out"),
        ("[engine]\nspeed = 'quick'", "engine.speed: has to be 'exact', 'fast' or 'fastest', not 'quick'"),
        ("[engine]\nexact = 'pipeline'\nspeed = 'fast'", 'speed = "fast" is not: take one of them out'),
        ("[engine]\nmemory = '24GB'", "engine.memory: has to be 'auto', 'full' or 'low'"),
        ("grace = 5", "grace"),
        ("[grace\nperiod", "config.toml: "),
    ],
)
def test_wrong_setting_names_its_place(load, tmp_path, text, says):
    """What is wrong is told with file, line, key and advice."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert says in str(caught.value)
    assert str(tmp_path / "config.toml") in str(caught.value)
    assert "Input should" not in str(caught.value)
    assert "geheim" not in str(caught.value)  # of a URL that may hold a password


def test_all_faults_are_told_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load("[grace]\nperiod = 1\n[disk]\nreserve = 2")
    assert len(str(caught.value).splitlines()) == 2


def test_missing_or_unreadable_file(load, tmp_path):
    """A file that is missing, a folder, or no text is told as such."""
    with pytest.raises(ConfigError, match=r"is not there\. Give the right one with --config FILE\."):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"is a folder\. Give the file: --config .*/config\.toml"):
        load_config(tmp_path)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no UTF-8 text"):
        load_config(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ('outputs = "inputs/out"', r"paths\.outputs .* lies inside paths\.inputs"),
        ('outputs = "inputs"', r"paths\.outputs .* lies inside paths\.inputs"),
        ('inputs = "outputs/in"', r"paths\.inputs .* lies inside paths\.outputs"),
        ('state = "inputs/.state"', r"paths\.state .* lies inside paths\.inputs"),
        ('outputs = "link/out"', r"paths\.outputs .* lies inside paths\.inputs"),
    ],
)
def test_folders_lie_side_by_side(load, tmp_path, paths, says):
    """No folder of povwatch may lie inside another, symlinks followed."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "link").symlink_to("inputs")
    with pytest.raises(ConfigError, match=says) as caught:
        load(f"[paths]\n{paths}")
    assert str(caught.value).startswith(f"{tmp_path / 'config.toml'}: ")


def test_folders_that_only_begin_alike(load):
    """Folders whose names only begin alike lie side by side."""
    assert load('[paths]\ninputs = "in"\noutputs = "in-out"').paths.outputs.name == "in-out"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("POVWATCH_GRAEC__PERIOD", r"names no section .* Did you mean POVWATCH_GRACE__"),
        ("POVWATCH_GRACE__PEROID", "grace.peroid is no setting; did you mean 'period'"),
        ("POVWATCH_GRACE__PERIOD", "the environment variable POVWATCH_GRACE__PERIOD: grace.period: 'x' is no duration"),
        ("POVWATCH_GRACE_PERIOD", r"names no setting\. Did you mean POVWATCH_GRACE__PERIOD\?"),
        ("POVWATCH_CONFG", r"names no setting\. Did you mean POVWATCH_CONFIG\?"),
        ("POVWATCH_WHATEVER", r"POVWATCH_WHATEVER names no setting\. Unset it\."),
        ("POVWATCH_GRACE", r"POVWATCH_GRACE__PERIOD=5m"),
    ],
)
def test_misspelt_variable_is_named(load, monkeypatch, name, says):
    """A variable that names no setting is told with the nearest one."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=says):
        load()


def test_other_variables_are_left_alone(load, monkeypatch):
    for name in ("POVWATCH_CONFIG", "POVWATCH_COMMAND", "POVWATCH_PYTHON", "POVWATCH_UPSTREAM", "POVWATCH_TEST_ALL"):
        monkeypatch.setenv(name, "x")
    assert load().origin.endswith("/config.toml")


@pytest.mark.parametrize(("option", "says"), [("grace", "--grace: 'x' is no duration"), ("engine", "--engine x is no")])
def test_command_line_is_checked_too(load, option, says):
    """A wrong option is told as a wrong setting is."""
    with pytest.raises(ConfigError, match=says):
        load(**{option: "x"})


def test_default_json_fits_the_engine(load):
    """A default JSON that asks for a control which is not loaded is refused."""
    asks = "[spec]\ncontrols = {edge = 1.0, depth = 0.5}\n"
    with pytest.raises(ConfigError, match=r"spec\.controls asks for depth, and engine\.controls has edge only"):
        load(asks, engine="cosmos")
    assert load(asks, engine="preview").spec.controls == {"edge": 1.0, "depth": 0.5}
    assert load(asks + '[engine]\nkind = "diffusers"\ncontrols = ["depth", "edge"]')


def test_gpus_hours_and_priorities(load, monkeypatch):
    """Devices, hours and priorities can be set in the file and in the environment."""
    config = load(
        '[engine]\ndevices = [1, "GPU-ab12-3"]\nhours = "20:00-08:00,12:00-13:00"\n[spec.priorities]\n"urgent/**" = 10'
    )
    assert config.engine.devices == (1, "GPU-ab12-3")
    assert config.engine.hours == "20:00-08:00, 12:00-13:00"
    assert config.spec.priorities == {"urgent/**": 10}
    monkeypatch.setenv("POVWATCH_ENGINE__DEVICES", "[0]")
    monkeypatch.setenv("POVWATCH_ENGINE__HOURS", "")
    assert (load().engine.devices, load().engine.hours) == ((0,), "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[engine]\ndevices = [-1]", "-1 is no GPU: write an index such as 0, or a UUID"),
        ('[engine]\ndevices = ["0"]', "'0' is no GPU"),
        ("[engine]\ndevices = [0, 0]", "0 is named twice"),
        ("[engine]\ndevices = 0", "engine.devices: has to be a list"),
        ('[engine]\nhours = "8-20"', "engine.hours: '8-20' is no range of hours"),
        ('[spec.priorities]\n"a" = 200', "spec.priorities.a: has to be 100 or less"),
    ],
)
def test_wrong_gpus_hours_and_priorities(load, text, says):
    """A wrong device, range of hours or priority is refused, and told."""
    with pytest.raises(ConfigError) as error:
        load(text)
    assert says in str(error.value)


RAY = '[pool]\nkind = "ray"\n'


def test_pool_needs_a_named_engine(load):
    """What auto would choose here says nothing about the other machines; --engine names one too."""
    with pytest.raises(ConfigError, match=r'toml, line 2: pool\.kind is "ray", .*engine\.kind is "auto".*cosmos, diff'):
        load(RAY)
    assert load(RAY, engine="preview").pool.kind == "ray"
    assert load('[engine]\nkind = "diffusers"\n' + RAY).pool.idle == 600


def test_no_worker_here_only_with_a_pool(load):
    none_here = '[engine]\nkind = "preview"\nworkers = 0\n'
    with pytest.raises(ConfigError, match=r"toml, line 3: engine\.workers: .* not 0\. Only with workers on other"):
        load(none_here)
    assert load(none_here + RAY).engine.workers == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'address = "ray://head:10001"',
            "pool.address: 'ray://head:10001' is no address: write the head's host and port, such as \"gpu-01:6379\".",
        ),
        ('address = "head"', "'head' is no address"),
        ('address = "head:0"', "'head:0' is no address"),
        ('runtime = "venv/bin/python"', "pool.runtime: 'venv/bin/python' has to begin with a slash"),
        ('kind = "slurm"', "pool.kind: has to be 'local' or 'ray', not 'slurm'."),
        ('files = "shard"', "did you mean 'shared'?"),
        ("max = 0", "pool.max: has to be 1 or more, not 0."),
        ("idle = 10", "10 is no duration"),
    ],
)
def test_pool_faults_in_words(load, text, said):
    with pytest.raises(ConfigError) as refusal:
        load(f"[pool]\n{text}")
    assert said in str(refusal.value)
    assert "config.toml, line 2" in str(refusal.value)


@pytest.mark.parametrize("address", ["gpu-01:6379", "10.0.0.7:6379", "[fd00::1]:6379", ""])
def test_pool_addresses(load, address):
    assert load(f'[pool]\naddress = "{address}"').pool.address == address
