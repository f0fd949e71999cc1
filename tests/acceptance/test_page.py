"""outputs/index.html in Debian's Chromium, over file://: made by the real daemon, used with keys and looked at."""

from __future__ import annotations

import json
import threading
import time
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.browser import PATIENCE, Browser
from support.clips import make_clip, number_of
from support.daemons import Daemon, toy

from povwatch.core.layout import shown

HOSTILE = ["a:b \"hi\" #1? 50%20 & 'more'.mp4", "odd/<img src=x onerror=alert(1)>\n\u202ertl 🧤 عربى.mp4"]

EVEN, UNEVEN, TURNED, LATE = "kitchen/even.mp4", "kitchen/uneven.mp4", "bench/turned.mp4", "bench/late.mov"
MANY = 40
"""Frames of the clips that are played."""

DONE = 4 + 1 + len(HOSTILE)
"""The clips and looks that are done."""

TIMES = [n * 30 + (n % 3) * 9 + (n // 10) * 25 for n in range(MANY)]
"""Milliseconds at which the uneven clip's frames are shown."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a page: done clips with a look, hostile names, an odd file, and a clip that is held."""
    folder = tmp_path_factory.mktemp("page") / "pov # 100%"
    off = {"quality": {"scores": False}, "publish": {"sheet": False}}
    with Daemon(folder, page={"enabled": True, "title": "Hands & <b>"}, engine={"kind": toy("dims")}, **off) as daemon:
        for name in (EVEN, UNEVEN, TURNED, LATE, "odd/x"):
            (daemon.inputs / name).parent.mkdir(exist_ok=True)
        daemon.outputs.mkdir(exist_ok=True)
        make_clip(daemon.inputs / EVEN, frames=MANY, fps=25, audio="aac")
        make_clip(daemon.inputs / UNEVEN, frames=MANY, times=TIMES, time_base=Fraction(1, 1000))
        make_clip(daemon.inputs / TURNED, frames=MANY, rotation=90)
        make_clip(daemon.inputs / LATE, frames=MANY, times=[n + 6 for n in range(MANY)], audio="aac")
        for name in HOSTILE:
            make_clip(daemon.inputs / name, frames=2)
        (daemon.inputs / "odd/notes.mp4").write_text("no video at all\n" * 200)
        (daemon.inputs / "kitchen/even.night.json").write_text(
            json.dumps({"name": "even_night", "video_path": "even.mp4", "prompt": "By night.", "edge": {}})
        )
        (daemon.outputs / "index.html").write_text("<title>somebody's</title>")
        daemon.first = daemon.once("--grace", "0s")
        assert daemon.first.returncode == 1, daemon.first.stderr  # for notes.mp4
        assert (daemon.outputs / "index.html").read_text() == "<title>somebody's</title>"
        (daemon.outputs / "index.html").unlink()
        scores = {"even_aug": 0.9, "even_night_aug": 0.2, "uneven_aug": 0.5}
        for name, value in scores.items():
            manifest = daemon.outputs / f"kitchen/{name.split('_')[0]}/{name}.json"
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"scores": {"toy_score": value}}))
        daemon.once("--grace", "0s")
        yield daemon


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        browser.look(1020, 520)
        yield browser


@pytest.fixture
def page(browser, world):
    """The page as it is first opened; no script may have failed at the end."""
    browser.look(1020, 520)
    browser.open(world.outputs / "index.html")
    browser.until("!!document.querySelector('.card')")
    yield browser
    assert browser.complaints == []


def test_clips_go_on_without_a_page(world):
    """Where no page can be written, one line says so, and every clip is done all the same."""
    (line,) = [json.loads(line) for line in world.first.stderr.splitlines() if '"page-unwritten"' in line]
    assert "is not povwatch's own, and stays as it is" in line["problem"]
    assert world.first.stderr.count('"event": "done"') == DONE


def cards(page):
    return page.do("[...document.querySelectorAll('#clips > li')].map(one => povwatch.names(one))")


def opened(page, name):
    """Open a clip as a click on its card does, and wait until its videos have their first frames."""
    page.do(f"povwatch.show({json.dumps(name)})")
    page.until("povwatch.viewer.player.cells.length > 0 && povwatch.viewer.player.settled")


def boxes(page):
    """Where the picture of each video is on the screen: x, y, width, height."""
    return page.do(
        "povwatch.viewer.player.cells.map(({video}) => { const box = video.getBoundingClientRect();"
        " if (!video.videoWidth) return null;"
        " const scale = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);"
        " const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];"
        " return [box.x + (box.width - w) / 2, box.y + (box.height - h) / 2, w, h]; })"
    )


def panes(page):
    """The number of the frame that each video shows on the screen."""
    picture = page.picture()
    found = [box and [round(side) for side in box] for box in boxes(page)]
    return [box and number(picture[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]) for box in found]


def number(picture):
    """The painted number; None where nothing is shown yet."""
    try:
        return number_of(picture)
    except AssertionError:
        return None


def shows(page, *frames):
    """Wait until the videos show these frames on the screen, and nothing is on its way any more."""
    page.until("povwatch.viewer.player.settled")
    deadline = time.monotonic() + PATIENCE
    while (found := panes(page)) != list(frames):
        assert time.monotonic() < deadline, f"{found}, not {frames}"
        time.sleep(0.05)


@pytest.mark.parametrize("clip", [EVEN, UNEVEN, TURNED, LATE])
def test_steps_frame_by_frame(page, clip):
    """The arrow keys show the same frame in every video: uneven times, a turned clip, one that begins late."""
    opened(page, clip)
    shows(page, 0, 0)
    for keys, shift, frame in (
        (["ArrowRight"] * 3, False, 3),
        (["ArrowLeft"], False, 2),
        (["End"], False, MANY - 1),
        (["ArrowLeft"] * 2, False, MANY - 3),
        (["ArrowLeft"] * 2, True, MANY - 23),
        # Those after a long one of the uneven clip: their file says that it lasts as long as they do.
        (["ArrowRight"] * 4, False, 21),
        (["ArrowLeft"], True, 11),
        (["ArrowLeft"], False, 10),
    ):
        page.press(*keys, shift=shift)
        shows(page, frame, frame)


def played(page, speed, samples):
    """The frames that two videos show at some moments while they play."""
    page.do(f"povwatch.viewer.player.setSpeed({speed})")
    page.press(" ")
    page.until("povwatch.viewer.player.playing && povwatch.viewer.player.frame > 2")
    seen = []
    while len(seen) < samples:
        if None not in (found := panes(page)):
            seen.append(found)
        time.sleep(0.1)
    page.press(" ")
    return seen


@pytest.mark.parametrize("clip", [EVEN, UNEVEN])
def test_plays_in_step(page, clip):
    """While it plays, also in a loop, the videos show the same frame on the screen, or neighbours.

    At full speed a busy machine may be late with one of them, so there the middle of the samples counts.
    """
    opened(page, clip)
    slowly, fully = played(page, 0.25, 5), played(page, 1, 7)
    apart = [sorted(min(abs(a - b), MANY - abs(a - b)) for a, b in seen) for seen in (slowly, fully)]
    assert apart[0][-1] <= 1, slowly
    assert apart[1][len(fully) // 2] <= 1, fully
    assert len({a for a, _ in fully}) > 3, fully
    shows(page, *[page.do("povwatch.viewer.player.frame")] * 2)


def test_half_speed_and_no_loop(page):
    """H plays at half speed; without the loop it stops at the last frame."""
    opened(page, EVEN)
    page.press("h", "l", " ")
    assert page.do("povwatch.viewer.player.cells.every(({video}) => video.playbackRate < 0.7)")
    page.press("h")
    page.until("!povwatch.viewer.player.playing")
    shows(page, MANY - 1, MANY - 1)
    page.press("l")


def test_wipe_between_two(page):
    """Left of the edge is the input, right of it the darker result; the edge moves by mouse and by key."""
    opened(page, EVEN)
    page.press("w")
    page.until("povwatch.viewer.player.settled")
    x, y, width, height = boxes(page)[0]

    def light(part):
        return float(page.picture()[round(y + height / 2), round(x + part * width)].mean())

    shows(page, 0, 0)
    bright, dark = light(0.45), light(0.55)
    assert dark < 0.75 * bright
    page.point("mousePressed", x + width / 2, y + height / 2)
    page.point("mouseMoved", x + 0.3 * width, y + height / 2)
    page.point("mouseReleased", x + 0.3 * width, y + height / 2)
    page.do("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert light(0.45) < 0.75 * bright
    page.do("document.querySelector('.edge').focus()")
    page.press("End")
    page.do("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert light(0.95) > 0.75 * bright
    page.press("w")


def test_finds_clips(page):
    """Search, state, folder, look, score and order choose the cards, and the address keeps the choice."""
    everything = cards(page)
    assert len(everything) == 5 + len(HOSTILE)
    page.do("document.querySelector('#search').focus()")
    page.type("kitchen")
    assert sorted(cards(page)) == [EVEN, UNEVEN]
    page.do("povwatch.choose({text: '', group: 'failed'})")
    assert cards(page) == ["odd/notes.mp4"]
    page.do("povwatch.choose({group: '', folder: 'bench'})")
    assert sorted(cards(page)) == [LATE, TURNED]
    page.do("povwatch.choose({folder: '', look: 'night'})")
    assert cards(page) == [EVEN]
    page.do("povwatch.choose({look: '', order: 'toy_score worst'})")
    assert cards(page)[:2] == [EVEN, UNEVEN]
    page.do("povwatch.choose({order: 'toy_score best'})")
    assert cards(page)[:2] == [EVEN, UNEVEN]
    page.do("povwatch.choose({score: 'toy_score most', bound: '0.3'})")
    assert cards(page) == [EVEN]
    page.reload()
    page.until("document.querySelectorAll('#clips > li').length === 1")
    assert page.do("document.querySelector('#bound').value") == "0.3"
    page.do("povwatch.choose({look: 'own'})")
    assert cards(page) == []
    assert page.do("document.querySelector('#none').textContent") == "No clip is like that."


def test_hostile_names_play(page):
    """Whatever a clip is called, its name is text, and its input and result play from file://."""
    for name in HOSTILE:
        opened(page, shown(name.encode()))
        assert page.do("povwatch.viewer.player.cells.map(cell => cell.bad)") == ["", ""]
    assert page.do("document.querySelectorAll('img[src=x], h2 b, h1 b').length") == 0
    assert page.do("document.querySelector('h1').textContent") == "Hands & <b>"


def test_error_and_command(page):
    """A clip that failed says why and what to do; its command is copied by one click."""
    page.do("povwatch.show('odd/notes.mp4')")
    page.until("!!document.querySelector('.error')")
    assert "Replace it with the video itself" in page.do("document.querySelector('.error').textContent")
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    page.click(".command .copy")
    page.until("document.querySelector('.command .copy').textContent === 'Copied'")
    assert page.do("navigator.clipboard.readText()") == "povwatch retry odd/notes.mp4"


def test_json_as_it_was_run(page, world):
    """The JSON is the one that was run, long texts in full."""
    opened(page, EVEN)
    run = json.loads(page.do("document.querySelector('.facts pre').textContent"))
    assert run == json.loads((world.outputs / "kitchen/even/even_aug.json").read_text())["spec"]


def test_result_that_is_gone(page, world):
    """A result that was deleted by hand is told in words, and the input plays on."""
    stem = HOSTILE[0].removesuffix(".mp4")
    result = world.outputs / f"{stem}/{stem}_aug.mp4"
    aside = result.rename(result.with_suffix(".aside"))
    opened(page, HOSTILE[0])
    assert "This file is not there" in page.do("povwatch.viewer.player.cells[1].box.textContent")
    page.press("ArrowRight")
    page.until("povwatch.viewer.player.settled")
    assert page.do("[povwatch.viewer.player.frame, povwatch.viewer.player.cells[0].bad]") == [1, ""]
    aside.rename(result)
    page.complaints.clear()  # the browser itself logs the missing file


def test_times_that_are_gone(page, world):
    """Where the times of uneven frames cannot be read any more, the videos play all the same, and the page says how."""
    (file,) = (world.outputs / "index_files/times").glob("*.js")
    whole = file.read_bytes()
    file.write_bytes(b"")
    opened(page, UNEVEN)
    assert page.do("povwatch.viewer.player.times.length") == 0
    assert "as if they were even" in page.do("document.querySelector('.evenly').innerText")
    file.write_bytes(whole)


def test_earlier_result(page):
    """While a clip runs again, its earlier result is beside its input, and called that."""
    page.do(
        f"(() => {{ const clip = povwatch.find({json.dumps(UNEVEN)});"
        " const { output, views, uneven, ended, ...job } = clip.jobs[0];"
        " clip.group = 'failed';"
        " clip.jobs = [{ ...job, state: 'failed', earlier: { output, views, uneven, ended } }]; })()"
    )
    opened(page, UNEVEN)
    assert page.do("[...document.querySelectorAll('.views .chip')].map(one => one.innerText)") == [
        "Input",
        "Earlier result",
    ]
    assert page.do("document.querySelectorAll('.facts section')[1].innerText").startswith("Earlier result")
    page.press("ArrowRight")
    shows(page, 1, 1)


def test_server_that_sends_no_parts(page, world):
    """Over a server that does not know ranges nothing can be sought: the page says so, and does not wait."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=world.folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.open(f"http://127.0.0.1:{server.server_port}/outputs/index.html")
        page.until("!!document.querySelector('.card')")
        opened(page, EVEN)
        shows(page, 0, 0)
        page.press("ArrowRight")
        page.until("povwatch.viewer.player.settled")
        assert "sends no parts of files" in page.do("document.querySelector('.cell figcaption').innerText")
        page.open(world.outputs / "index.html")
        server.shutdown()


def test_marks_come_beside_the_results(page, world):
    """Marks that are set by key outlive the page; exported and imported they are beside the results."""
    page.do("povwatch.choose({text: 'kitchen', order: 'name'})")
    opened(page, EVEN)
    page.press("n")
    page.type("the left hand melts")
    page.press("Escape", "r")
    assert page.do("[povwatch.viewer.clip.clip, povwatch.viewer.look]") == [EVEN, "night"]
    page.press("a")
    assert page.do("povwatch.viewer.clip.clip") == UNEVEN
    page.press("Escape")
    page.reload()
    page.until("document.querySelectorAll('.sign').length === 2")
    page.do("povwatch.choose({mark: 'reject'})")
    assert cards(page) == [EVEN]
    page.do("povwatch.choose({mark: 'none'})")
    assert cards(page) == [UNEVEN]
    file = world.folder / "marks.json"
    file.write_text(json.dumps(page.do("povwatch.exportMarks()")))
    done = world.call("marks", "import", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    own, night = (
        json.loads((world.outputs / f"kitchen/even/even_{name}.json").read_text()) for name in ("marks", "night_marks")
    )
    assert (own["mark"], own["note"], own["output"]) == ("reject", "the left hand melts", "kitchen/even/even_aug.mp4")
    assert (night["mark"], night["look"]) == ("accept", "night")
    assert own["run_id"] == json.loads((world.outputs / "kitchen/even/even_aug.json").read_text())["run_id"]


def test_keyboard_alone(page):
    """With keys alone a clip is opened, looked at and closed, and the focus comes back to its card."""
    page.do("document.querySelector('#order').focus()")
    page.press("Tab", "Enter")
    page.until("document.querySelector('#viewer').open")
    page.press("j")
    second = page.do("povwatch.viewer.clip.clip")
    page.press("Escape")
    page.until("!document.querySelector('#viewer').open")
    assert page.do("document.activeElement.className").startswith("card")
    page.until(f"document.activeElement.getAttribute('aria-label').startsWith({json.dumps(second)})")
    page.press("/")
    assert page.do("document.activeElement.id") == "search"


def test_everything_has_a_name(page):
    """Everything that can be used has a name for screen readers."""
    opened(page, EVEN)
    page.do("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    used = {
        "button",
        "slider",
        "combobox",
        "textbox",
        "searchbox",
        "spinbutton",
        "link",
        "checkbox",
        "DisclosureTriangle",
    }
    controls = [node for node in nodes if node.get("role", {}).get("value") in used and not node.get("ignored")]
    assert len(controls) > 20
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_scores_of_many_looks(page):
    """With twenty looks, each has its row, the worst first, and nothing is cut off."""
    page.do(
        f"(() => {{ const clip = povwatch.find({json.dumps(EVEN)}); const night = clip.jobs[1];"
        " for (let n = 0; n < 18; n++) clip.jobs.push({...night, job: 900 + n, look: `a_very_long_name_of_a_look_${n}`,"
        " scores: {toy_score: n === 7 ? 0.1 : 0.5}}); })()"
    )
    opened(page, EVEN)
    rows = page.do("[...document.querySelectorAll('.comparison tr')].map((row) => row.innerText.split(/\\s+/))")
    assert len(rows) == 20
    assert [rows[0][0], rows[0][-1]] == ["a_very_long_name_of_a_look_7", "0.10"]
    assert [rows[1][0], rows[-1][0]] == ["night", "own"]
    wide = "(at) => { const one = document.querySelector(at); return one.scrollWidth > one.clientWidth; }"
    assert page.do(f"['.facts .wide', '.comparison', 'aside'].filter({wide})") == []
    page.click(".comparison button")
    assert page.do("povwatch.viewer.look") == "a_very_long_name_of_a_look_7"
    assert page.do("document.activeElement.innerText") == "a_very_long_name_of_a_look_7"


def test_dark_and_phone(page):
    """It is dark where the system is, and as wide as a phone without scrolling sideways."""
    light = page.do("getComputedStyle(document.documentElement).backgroundColor")
    page.look(390, 800, dark=True, calm=True)
    assert page.do("getComputedStyle(document.documentElement).backgroundColor") != light
    assert page.do("document.documentElement.scrollWidth") <= 390
    opened(page, EVEN)
    assert page.do("[document.querySelector('.body').scrollWidth, document.querySelector('.bar').scrollWidth]") == [
        390,
        390,
    ]
    assert page.do("getComputedStyle(document.querySelector('.card')).transitionDuration") == "0s"


def test_open_page_hears_of_changes(page, world):
    """A page that stays open shows a new clip, and the viewer stays at its frame."""
    opened(page, EVEN)
    page.press("ArrowRight", "ArrowRight")
    shows(page, 2, 2)
    make_clip(world.inputs / "new.mp4", frames=2)
    world.once("--grace", "0s")
    page.do("document.dispatchEvent(new Event('visibilitychange'))")
    page.until("!!povwatch.find('new.mp4')")
    assert page.do("[povwatch.viewer.clip.clip, povwatch.viewer.player.frame]") == [EVEN, 2]
    shows(page, 2, 2)
    page.press("Escape")
    page.until("povwatch.names(document.querySelector('#clips > li')) === 'new.mp4'")
