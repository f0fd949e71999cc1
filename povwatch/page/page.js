/* povwatch: the script of the page. It shows what data.js and progress.js say; nothing else is loaded but the videos and
   pictures that are looked at. No text becomes HTML: everything is put in as text. */
"use strict";

(() => {
  const FORMAT = 1;
  const POLL = 3000; // milliseconds between two looks at progress.js
  const POLL_STOPPED = 15000;
  const TRIES = [0.5, 0.9]; // where in a frame to seek to, as a part of its length
  const SLOWEST = 0.0625; // the lowest playbackRate that browsers take
  const SILENCE = 3000; // milliseconds in which a browser tells what it shows, if it tells at all
  const LOOK = 15; // milliseconds between two looks at what a video shows
  const GROUPS = {
    running: "Running", failed: "Failed", waiting: "Waiting", done: "Done", cancelled: "Cancelled",
  };
  const GROUP_OF = {
    arriving: "waiting", grace: "waiting", queued: "waiting", running: "running", checking: "running",
    publishing: "running", done: "done", failed: "failed", blocked: "failed", rejected: "failed", cancelled: "cancelled",
  };
  const STAGES = {
    hooks: "hooks", prepare: "copying the clip", mask: "making the mask", sound: "reading the sound",
    generate: "generating", finish: "times and sound", check: "checking every frame", score: "scoring",
    publish: "publishing",
    lost: "failed attempts",
  };
  const SCORES = { edge_f1: "edge F1", blur_ssim: "blur SSIM", hands_pck: "hands PCK" };
  const UNPLAYABLE = { hevc: "video/mp4; codecs=\"hvc1.1.6.L93.B0\"", av1: "video/mp4; codecs=\"av01.0.04M.08\"" };
  const NEVER = new Set(["prores", "mpeg4", "mjpeg", "dnxhd", "ffv1", "rawvideo"]);

  // -- small helpers

  const $ = (selector, within = document) => within.querySelector(selector);

  /** An element with attributes and children; strings become text. A function is a listener. */
  function h(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") made.addEventListener(name.slice(2), value);
      else if (name === "class") made.className = value;
      else if (name in made && typeof value === "boolean") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  const ICONS = {
    play: "M7 4.5v15l12.5-7.5z",
    pause: "M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z",
    back: "M18 5.5v13l-9-6.5zM6 5.5h2.2v13H6z",
    forth: "M6 5.5v13l9-6.5zM15.8 5.5H18v13h-2.2z",
    left: "M15.5 4.5 8 12l7.5 7.5-1.6 1.6L4.8 12l9.1-9.1z",
    right: "M8.5 4.5 16 12l-7.5 7.5 1.6 1.6 9.1-9.1-9.1-9.1z",
    loop: "M7 7h9V4l5 4.2L16 12.500V9.300H9.300V13H7zM17 17H8v3l-5-4.200L8 11.500v3.200h6.700V11H17z",
    close: "M5.300 6.900 6.900 5.300 12 10.400l5.100-5.100 1.600 1.600L13.600 12l5.100 5.100-1.600 1.600L12 13.600l-5.100 5.100-1.600-1.600L10.400 12z",
    check: "M9.500 17.900 3.900 12.300l1.700-1.700 3.900 3.900 8.900-8.900 1.700 1.700z",
    note: "M4 4h16v12l-4.500 4.500H4zM6.300 6.300v11.900h7.900v-3.800H18V6.300zM8.300 9h7.400v1.800H8.300zm0 3.300h5v1.800h-5z",
    sound: "M4 9v6h3.600L13 19.500v-15L7.600 9zM15 8.300a4.600 4.600 0 0 1 0 7.400zM15 4.500v2.200a6.500 6.500 0 0 1 0 10.600v2.200a8.700 8.700 0 0 0 0-15z",
    mute: "M4 9v6h3.600L13 19.500v-15L7.600 9zM15 9.500l1.300-1.300 2 2 2-2 1.300 1.300-2 2 2 2-1.300 1.300-2-2-2 2-1.300-1.300 2-2z",
    wipe: "M3.500 5h17v14h-17zM5.700 7.200v9.600H11V7.200z",
    grid: "M3.500 5h7.700v14H3.500zM12.800 5h7.700v14h-7.700zM5.500 7v10h3.700V7zM14.800 7v10h3.700V7z",
  };

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  const button = (label, name, onclick, more = {}) =>
    h("button", { type: "button", "aria-label": label, title: more.title || label, onclick, ...more }, icon(name));

  function spell(seconds) {
    if (seconds === undefined || seconds === null) return "";
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 60) return `${Math.round(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  }

  function moment(at) {
    const when = new Date(at * 1000);
    const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    if (when.toDateString() === new Date().toDateString()) return time;
    return `${when.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
  }

  const scoreName = (key) => {
    const kept = key.endsWith("_kept") && SCORES[key.slice(0, -5)];
    return SCORES[key] || (kept ? `${kept}, kept` : key.replaceAll("_", " "));
  };
  const higher = (key) => !head.scores[key] || head.scores[key].higher; // whether more of it is better
  const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) < 0.1 ? 3 : 2));
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const rest = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
  const said = (text) => { $("#said").textContent = text; };

  async function copy(text, from) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = h("textarea", { class: "away" }); // a page from a plain http share has no clipboard of its own
      area.value = text;
      (from.closest("dialog") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = from.textContent;
    from.textContent = "Copied";
    said("Copied");
    setTimeout(() => { from.textContent = before; }, 1500);
  }

  const copier = (text, label) =>
    h("button", { type: "button", class: "copy", "aria-label": label, onclick: (event) => copy(text(), event.currentTarget) }, "Copy");

  // -- what is known

  let head = null; // of data.js
  let progress = { running: {}, queue: [] };
  let clips = []; // every clip with its jobs, in the order of the file
  let byPath = new Map();
  let shown = []; // those that pass the filters, in their order

  /** A clip: its looks' newest jobs, its own look first. */
  function gather(data) {
    const found = new Map();
    for (const job of data.jobs) {
      job.look ||= "";
      if (!found.has(job.path)) found.set(job.path, { path: job.path, jobs: [] });
      found.get(job.path).jobs.push(job);
    }
    for (const clip of found.values()) {
      clip.jobs.sort((a, b) => (a.look < b.look ? -1 : 1));
      const [first] = clip.jobs;
      const groups = clip.jobs.map((job) => GROUP_OF[job.state]);
      clip.clip = first.clip;
      clip.name = first.name;
      clip.folder = first.folder || "";
      clip.group = Object.keys(GROUPS).find((group) => groups.includes(group));
      clip.created = Math.max(...clip.jobs.map((job) => job.job));
      clip.text = clip.jobs.map((job) => `${job.clip} ${job.look} ${job.state} ${job.waits || ""} ${job.problem || ""}`)
        .join(" ").toLowerCase();
    }
    return [...found.values()];
  }

  /** The job whose picture the card shows; where clips are in the order of a score, the one that has put it there. */
  function face(clip) {
    const [key, way] = wanted.order.split(" ");
    const scored = way ? clip.jobs.filter((job) => key in (job.scores || {})) : [];
    if (scored.length && clip.group === "done") {
      const low = (way === "worst") === higher(key);
      return scored.reduce((a, b) => ((low ? b.scores[key] < a.scores[key] : b.scores[key] > a.scores[key]) ? b : a));
    }
    return clip.jobs.find((job) => GROUP_OF[job.state] === clip.group);
  }
  const done = (job) => job.state === "done";

  /** What is known of a job's result, or of an earlier one while the clip runs again; undefined if there is none. */
  const resultOf = (job) => (done(job) ? job : job.earlier);
  const lookName = (job) => job.look || "own";

  /** Seconds that clips have taken lately: the middle of them. */
  function usual() {
    const took = clips.flatMap((clip) => clip.jobs).filter((job) => done(job) && job.took && job.ended)
      .sort((a, b) => b.ended - a.ended).slice(0, 20).map((job) => job.took).sort((a, b) => a - b);
    return took[Math.floor(took.length / 2)];
  }

  /** Seconds until a job of the queue starts, at a guess; undefined if nobody knows. */
  function startsIn(place) {
    const running = Object.values(progress.running);
    const takes = usual();
    if (!running.length || takes === undefined || running.some((one) => !one.eta && one.eta !== 0)) return undefined;
    const left = running.map((one) => Math.max(0, one.eta - (Date.now() / 1000 - progress.at))).sort((a, b) => a - b);
    return left[place % left.length] + Math.floor(place / left.length) * takes;
  }

  function full(value) {
    if (Array.isArray(value)) return value.map(full);
    if (value && typeof value === "object") {
      if (Object.keys(value).length === 1 && "$" in value) return head.texts[value.$];
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, full(item)]));
    }
    return value;
  }

  // -- marks, in this browser, by the folder's identity

  let marks = {};
  const marksKey = () => `povwatch-marks:${head.folder}`;
  const markKey = (job) => job.run || `job ${job.job}`;
  const markOf = (job) => marks[markKey(job)] || {};

  function loadMarks() {
    try {
      marks = JSON.parse(localStorage.getItem(marksKey()) || "{}");
    } catch {
      marks = {};
    }
  }

  function setMark(job, change) {
    const about = { path_hex: job.path, clip: job.clip, look: job.look, output: job.output, run_id: job.run };
    marks[markKey(job)] = { mark: null, note: "", ...markOf(job), ...about, ...change, at: new Date().toISOString() };
    try {
      localStorage.setItem(marksKey(), JSON.stringify(marks));
    } catch {
      said("This browser does not keep marks here. Export them before you close the page.");
    }
    refreshCard(job.path);
    counted();
  }

  const marked = () => Object.values(marks).filter((mark) => mark.mark || mark.note);

  function exportMarks() {
    const whole = {
      povwatch_marks: 1, folder: head.folder, title: head.title, exported_at: new Date().toISOString(),
      marks: Object.values(marks),
    };
    const name = `${head.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "povwatch"}-marks.json`;
    const link = h("a", {
      href: URL.createObjectURL(new Blob([`${JSON.stringify(whole, null, 2)}\n`], { type: "application/json" })),
      download: name,
    });
    document.body.append(link);
    link.click();
    link.remove();
    said(`${plural(marked().length, "mark")} exported as ${name}. To keep them beside the results: povwatch marks import ${name}`);
    return whole;
  }

  // -- filters

  const wanted = { text: "", group: "", folder: "", look: "", mark: "", score: "", bound: "", order: "new" };

  function passes(clip) {
    if (wanted.group && !clip.jobs.some((job) => GROUP_OF[job.state] === wanted.group)) return false;
    if (wanted.folder && clip.folder !== wanted.folder && !clip.folder.startsWith(`${wanted.folder}/`)) return false;
    if (wanted.text && !wanted.text.toLowerCase().split(/\s+/).every((word) => clip.text.includes(word))) return false;
    const jobs = clip.jobs.filter((job) => !wanted.look || lookName(job) === wanted.look);
    if (!jobs.length) return false;
    if (wanted.mark && !jobs.some(hasMark)) return false;
    if (wanted.score && (wanted.bound !== "" || wanted.score.startsWith("gate ")) && !jobs.some(hasScore)) return false;
    return true;
  }

  function hasMark(job) {
    const { mark, note } = markOf(job);
    if (wanted.mark === "none") return done(job) && !mark;
    return wanted.mark === "note" ? Boolean(note) : mark === wanted.mark;
  }

  function hasScore(job) {
    const [key, way] = wanted.score.split(" ");
    if (key === "gate") return job.passed === (way === "yes");
    const value = (job.scores || {})[key];
    if (value === undefined) return false;
    return way === "most" ? value <= Number(wanted.bound) : value >= Number(wanted.bound);
  }

  const RANK = { running: 0, failed: 1, waiting: 1, done: 1, cancelled: 1 };

  function inOrder(found) {
    const [key, way] = wanted.order.split(" ");
    const by = {
      new: (clip) => [RANK[clip.group], -clip.created],
      old: (clip) => [clip.created],
      name: (clip) => [clip.clip],
      slow: (clip) => [-Math.max(...clip.jobs.map((job) => job.took || 0))],
    }[key] || ((clip) => {
      const values = clip.jobs.map((job) => (job.scores || {})[key]).filter((value) => value !== undefined);
      if (!values.length) return [Infinity];
      const low = (way === "worst") === higher(key); // the worst look of a clip counts, or the best
      return [low ? Math.min(...values) : -Math.max(...values)];
    });
    const keyed = found.map((clip) => [by(clip), clip]);
    keyed.sort(([a], [b]) => {
      for (let n = 0; n < a.length; n += 1) {
        if (a[n] < b[n]) return -1;
        if (a[n] > b[n]) return 1;
      }
      return 0;
    });
    return keyed.map(([, clip]) => clip);
  }

  // -- the list of cards: a shell for each clip, filled only near the screen

  const shells = new Map();
  let nearby = null;

  function shellOf(clip) {
    let shell = shells.get(clip.path);
    if (!shell) {
      shell = h("li", { class: "shell" });
      shell.clip = clip.path;
      shells.set(clip.path, shell);
    }
    return shell;
  }

  function watchShells() {
    nearby = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        target.near = isIntersecting;
        if (isIntersecting) fill(target);
        else if (!target.contains(document.activeElement)) { target.replaceChildren(); target.stamp = ""; }
      }
    }, { rootMargin: "700px 0px" });
  }

  function fill(shell) {
    const clip = byPath.get(shell.clip);
    if (!clip) return;
    const stamp = JSON.stringify([
      clip.jobs, clip.jobs.map(markOf), wanted.order, clip.jobs.map((job) => [progress.running[job.job], ahead(job)]),
    ]);
    if (stamp === shell.stamp) return;
    const focused = shell.contains(document.activeElement);
    shell.stamp = stamp;
    shell.replaceChildren(cardOf(clip));
    if (focused) shell.firstChild.focus();
  }

  function refreshCard(path) {
    const shell = shells.get(path);
    if (shell && shell.near) fill(shell);
  }

  function list() {
    shown = inOrder(clips.filter(passes));
    const want = shown.map(shellOf);
    const box = $("#clips");
    box.classList.toggle("several", shown.some((clip) => clip.jobs.length > 1));
    if (want.length !== box.children.length || want.some((shell, n) => box.children[n] !== shell)) {
      const focused = document.activeElement;
      nearby.disconnect();
      box.replaceChildren(...want);
      want.forEach((shell) => nearby.observe(shell));
      if (focused && focused.isConnected && focused !== document.activeElement) focused.focus();
    }
    want.forEach((shell) => { if (shell.near) fill(shell); });
    for (const path of shells.keys()) if (!byPath.has(path)) shells.delete(path);
    counted();
    remember();
  }

  function ahead(job) {
    const place = progress.queue.indexOf(job.job);
    return job.state === "queued" && place >= 0 ? place : null;
  }

  /** Why a job waits, in a few words. */
  function waiting(job) {
    if (job.state === "arriving") return job.waits === "incomplete" ? "Part of the file is missing" : "Arriving";
    if (job.state === "grace") {
      if (job.waits === "held") return "Held";
      if (job.waits === "invalid-spec") return "Its JSON is invalid";
      if (job.waits === "editing") return "Its JSON is open in an editor";
      if (job.starts) return `Starts at ${moment(job.starts)}`;
    }
    if (job.state === "queued" && (job.waits === "turn" || !job.waits)) {
      const place = ahead(job);
      if (!place) return place === 0 ? "Next in the queue" : "In the queue";
      const ending = { 1: "st", 2: "nd", 3: "rd" }[(place + 1) % 10];
      return `${place + 1}${ending && Math.floor((place + 1) / 10) % 10 !== 1 ? ending : "th"} in the queue`;
    }
    return job.waits ? `Waits: ${job.waits.replaceAll("-", " ")}` : job.state;
  }

  /** What there is to be said of a wait beside that. */
  function reason(job) {
    const place = ahead(job);
    const left = place === null ? undefined : startsIn(place);
    if (left !== undefined) return left < 1 ? "starts now" : `starts in about ${spell(left)}`;
    return job.waits === "turn" || job.waits === "grace" ? "" : job.problem || "";
  }

  function howFar(job) {
    const found = progress.running[job.job];
    if (job.state === "running" && found) {
      const rest = found.eta ? found.eta - (progress.at ? Date.now() / 1000 - progress.at : 0) : 0;
      return {
        part: found.fraction, stage: STAGES[found.stage] || found.stage, left: rest > 1 ? `${spell(rest)} left` : "",
        detail: found.chunks > 1 ? `chunk ${Math.min(found.chunk + 1, found.chunks)} of ${found.chunks}` : "",
      };
    }
    if (job.state === "running") return { part: 0, stage: "copying the clip", left: "", detail: "" };
    return { part: 1, stage: job.state, left: "", detail: "" };
  }

  function panel(clip, job) {
    const group = GROUP_OF[job.state];
    if (group === "running") {
      const { part, stage, left, detail } = howFar(job);
      const bar = h("span", { class: "bar" }, h("span"));
      bar.firstChild.style.inlineSize = `${(100 * part).toFixed(1)}%`;
      return h("span", { class: "panel running" },
        h("span", { class: "big" }, job.state === "running" ? `${Math.floor(100 * part)} %` : job.state),
        h("span", { class: "small" }, [stage, detail, left].filter(Boolean).join(" · ")), bar);
    }
    if (group === "failed") {
      return h("span", { class: "panel failed" },
        h("span", { class: "big" }, job.state), h("span", { class: "small" }, job.problem || ""));
    }
    if (group === "waiting") {
      return h("span", { class: "panel" }, h("span", { class: "big" }, waiting(job)), h("span", { class: "small" }, reason(job)));
    }
    return h("span", { class: "panel" }, h("span", { class: "small" }, capital(job.state)));
  }

  function pictureOf(clip, job) {
    const tall = job.size && job.size[0] < job.size[1];
    const image = h("img", { src: job.picture, class: tall ? "tall" : "", alt: "", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(panel(clip, job)));
    return image;
  }

  function mainScore(clip, job) {
    const key = wanted.order.split(" ")[0];
    const found = job.scores || {};
    const name = key in found ? key : Object.keys(head.scores).find((one) => one in found) || Object.keys(found)[0];
    return name === undefined ? "" : `${scoreName(name)} ${number(found[name])}`;
  }

  function markSign(job) {
    const { mark, note } = markOf(job);
    if (!mark && !note) return null;
    return h("span", { class: `sign ${mark || "note"}` }, icon(mark ? { accept: "check", reject: "close" }[mark] : "note"));
  }

  function cardOf(clip) {
    const job = face(clip);
    const about = [
      clip.folder, job.frames ? plural(job.frames, "frame") : "", job.duration ? spell(job.duration) : "",
    ].filter(Boolean).join(" · ");
    const looks = clip.jobs.length > 1
      ? h("span", { class: "looks" }, clip.jobs.map((one) =>
        h("span", { class: `chip ${GROUP_OF[one.state]}${one === job ? " this" : ""}` }, markSign(one), lookName(one))))
      : null;
    const words = [
      clip.clip, clip.jobs.map((one) => `${clip.jobs.length > 1 ? `${lookName(one)}: ` : ""}${one.state}${
        markOf(one).mark ? `, ${markOf(one).mark}ed` : ""}`).join(", "), mainScore(clip, job),
      job.passed === false ? "did not pass" : "", job.earlier ? "An earlier result is there" : "",
    ].filter(Boolean).join(". ");
    return h("button", { type: "button", class: `card ${clip.group}`, "aria-label": words, onclick: () => open(clip.path) },
      h("span", { class: "face" }, done(job) && job.picture ? pictureOf(clip, job) : panel(clip, job)),
      h("span", { class: "line" }, h("bdi", { class: "name", title: clip.clip }, clip.name),
        clip.jobs.length > 1 ? null : markSign(job)),
      h("span", { class: "line quiet" }, h("bdi", { class: "about" }, about), h("span", { class: "score" }, job.passed === false ? h("span", { class: "short" }, "did not pass · ") : null,
        job.earlier ? "earlier result" : mainScore(clip, job))),
      looks);
  }

  // -- the head of the page

  function choices(select, options, value) {
    const want = options.map(([key, text]) => `${key}\n${text}`).join("\n\n");
    if (select.want !== want) {
      select.want = want;
      select.replaceChildren(...options.map(([key, text]) => h("option", { value: key }, text)));
    }
    select.value = options.some(([key]) => key === value) ? value : options[0][0];
    select.hidden = options.length < 3 && select.dataset.always !== "yes";
  }

  function folders() {
    const found = new Set();
    for (const clip of clips) {
      const parts = clip.folder ? clip.folder.split("/") : [];
      parts.forEach((_, n) => found.add(parts.slice(0, n + 1).join("/")));
    }
    return [...found].sort();
  }

  function scoreKeys() {
    const found = new Set(clips.flatMap((clip) => clip.jobs.flatMap((job) => Object.keys(job.scores || {}))));
    const known = Object.keys(head.scores).filter((key) => found.has(key));
    return [...known, ...[...found].filter((key) => !known.includes(key)).sort()];
  }

  function setFilters() {
    const looks = [...new Set(clips.flatMap((clip) => clip.jobs.map(lookName)))].sort();
    const keys = scoreKeys();
    choices($("#folder"), [["", "All folders"], ...folders().map((name) => [name, name])], wanted.folder);
    choices($("#look"), [["", "All looks"], ...looks.map((name) => [name, name === "own" ? "own look" : name])], wanted.look);
    choices($("#mark"), [["", "Any mark"], ["none", "Not marked"], ["accept", "Accepted"], ["reject", "Rejected"],
      ["note", "With a note"]], wanted.mark);
    const judged = clips.some((clip) => clip.jobs.some((job) => job.passed !== undefined));
    const gate = judged ? [["gate no", "Did not pass"], ["gate yes", "Passed"]] : [];
    choices($("#score"), [["", "Any score"], ...gate, ...keys.flatMap((key) => [
      [`${key} most`, `${scoreName(key)} at most`], [`${key} least`, `${scoreName(key)} at least`]])], wanted.score);
    $("#bound").hidden = !wanted.score || wanted.score.startsWith("gate ");
    choices($("#order"), [["new", "Newest first"], ["old", "Oldest first"], ["name", "By name"], ["slow", "Slowest first"],
      ...keys.flatMap((key) => [[`${key} worst`, `${scoreName(key)}, worst first`], [`${key} best`, `${scoreName(key)}, best first`]])],
    wanted.order);
    for (const key of ["folder", "look", "mark", "score", "order"]) wanted[key] = $(`#${key}`).value;
    const counts = Object.fromEntries(Object.keys(GROUPS).map((group) => [group, 0]));
    clips.forEach((clip) => clip.jobs.map((job) => GROUP_OF[job.state])
      .forEach((group, n, all) => { if (all.indexOf(group) === n) counts[group] += 1; }));
    const tabs = [["", "All", clips.length], ...Object.entries(GROUPS).map(([group, name]) => [group, name, counts[group]])];
    const had = document.activeElement && document.activeElement.dataset.group;
    $("#states").replaceChildren(...tabs.filter(([group, , count]) => count || !group || group === wanted.group)
      .map(([group, name, count]) => h("button", {
        type: "button", class: `tab ${group}`, "data-group": group, "aria-pressed": String(wanted.group === group),
        onclick: () => { wanted.group = wanted.group === group ? "" : group; changed(); },
      }, name, h("span", { class: "count" }, String(count)))));
    if (had !== undefined && had !== null) { const again = $(`#states [data-group="${had}"]`); if (again) again.focus(); }
  }

  function counted() {
    const text = shown.length === clips.length ? "" : `${shown.length} of ${plural(clips.length, "clip")}`;
    $("#found").textContent = text;
    $("#none").hidden = shown.length > 0;
    $("#none").textContent = clips.length ? "No clip is like that." : "No clips yet. Copy one into inputs/.";
    const count = marked().length;
    $("#export").disabled = !count;
    $("#export").textContent = count ? `Export ${plural(count, "mark")}` : "Export marks";
    const left = head.hidden ? `${plural(head.hidden, "older job")} left out · ` : "";
    $("#fresh").textContent = left + (progress.stopped ? `povwatch stopped, ${moment(progress.at || head.at)}` : `as of ${moment(progress.at || head.at)}`);
  }

  function changed() {
    setFilters();
    list();
  }

  function remember() {
    const hash = new URLSearchParams();
    for (const [key, value] of Object.entries(wanted)) if (value && !(key === "order" && value === "new")) hash.set(key, value);
    if (viewer.clip) hash.set("clip", viewer.clip.path);
    const text = hash.toString();
    if (location.hash.slice(1) !== text) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  function build() {
    const select = (id, label, key = id) => h("select", {
      id, "aria-label": label, onchange: (event) => { wanted[key] = event.target.value; changed(); },
    });
    const search = h("input", {
      id: "search", type: "search", placeholder: "Search", "aria-label": "Search clips", autocomplete: "off",
      oninput: (event) => { wanted.text = event.target.value; list(); },
    });
    const bound = h("input", {
      id: "bound", type: "number", step: "any", placeholder: "0.5", "aria-label": "Bound of the score", hidden: true,
      oninput: (event) => { wanted.bound = event.target.value; list(); },
    });
    $("#page").replaceChildren(
      h("header", {},
        h("div", { class: "top" }, h("h1", {}, head.title), h("p", { id: "fresh", class: "quiet" }), search,
          h("button", { id: "export", type: "button", onclick: exportMarks }, "Export marks")),
        h("div", { class: "row" }, h("div", { id: "states", role: "group", "aria-label": "State" }),
          h("details", { id: "more" }, h("summary", {}, "Filter and sort"),
            h("div", { class: "filters" }, select("folder", "Folder"), select("look", "Look"), select("mark", "Mark"),
              select("score", "Score"), bound, select("order", "Order"))))),
      h("p", { id: "found", class: "quiet", role: "status" }),
      h("ul", { id: "clips", "aria-label": "Clips" }),
      h("p", { id: "none", hidden: true }),
      h("p", { id: "said", class: "away", role: "status" }));
    const wide = matchMedia("(min-width: 760px)");
    const unfold = () => { $("#more").open = wide.matches; };
    wide.addEventListener("change", unfold);
    unfold();
    document.body.append(viewer.build());
    watchShells();
  }

  // -- the player: several videos, one time

  class Player {
    constructor(stage, tell) {
      this.stage = stage;
      this.tell = tell; // called when the frame, or whether it plays, has changed
      this.cells = [];
      this.frame = 0;
      this.playing = false;
      this.speed = 1;
      this.loop = true;
      this.sound = false;
      this.prepared = false;
      this.serial = 0; // of the last start; an older one gives up
      this.clock([], 1, 25);
    }

    /** When frames are shown: by uneven times (seconds), or evenly. */
    clock(times, frames, rate) {
      this.times = times;
      this.frames = Math.max(1, times.length || frames || 1);
      this.frame = Math.min(this.frame, this.frames - 1);
      this.rate = rate || 25;
    }

    at(frame) {
      return this.times.length ? this.times[frame] : frame / this.rate;
    }

    length(frame) {
      if (!this.times.length) return 1 / this.rate;
      const next = frame + 1 < this.times.length ? frame : frame - 1;
      return next < 0 ? 0.04 : this.times[next + 1] - this.times[next];
    }

    /** The frame that is shown at a time. */
    frameAt(seconds) {
      let low = 0;
      let high = this.frames - 1;
      if (!this.times.length) return Math.min(high, Math.max(0, Math.floor(seconds * this.rate + 0.01)));
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (this.times[middle] <= seconds + 0.001) low = middle;
        else high = middle - 1;
      }
      return low;
    }

    /** Show these views: those that were shown before keep their players. */
    show(views) {
      const before = new Map(this.cells.map((cell) => [cell.view.id, cell]));
      const playing = this.playing;
      this.pause();
      this.cells = views.map((view) => before.get(view.id) || this.cell(view));
      for (const cell of before.values()) if (!this.cells.includes(cell)) this.drop(cell);
      this.stage.replaceChildren(...this.cells.map((cell) => cell.box));
      this.quiet();
      this.prepared = false;
      const { cells } = this;
      this.ready().then(() => {
        if (cells !== this.cells) return;
        this.prepared = true;
        this.seek(this.frame);
        if (playing) this.play();
      });
    }

    cell(view) {
      const video = h("video", { preload: "auto", playsinline: "", muted: true, tabindex: "-1", "aria-label": view.name });
      const cell = { view, video, origin: 0, seen: null, bad: "", seeks: false };
      cell.box = h("figure", { class: "cell" }, video, h("figcaption", {}, view.name));
      cell.loaded = new Promise((resolve) => {
        const failed = () => {
          cell.bad = unplayable(view);
          cell.box.classList.add("bad");
          video.replaceWith(h("p", { class: "sorry" }, cell.bad));
          resolve();
        };
        video.addEventListener("error", failed, { once: true });
        if (!video.requestVideoFrameCallback) {
          video.addEventListener("loadeddata", resolve, { once: true });
          return;
        }
        // The first picture's time: a video may begin later than its file does.
        video.requestVideoFrameCallback((_, { mediaTime }) => {
          cell.origin = mediaTime;
          resolve();
          this.follow(cell);
        });
        video.addEventListener("loadeddata", () => setTimeout(() => { resolve(); this.follow(cell); }, 700), { once: true });
      });
      video.addEventListener("ended", () => this.over());
      video.src = view.at;
      return cell;
    }

    drop(cell) {
      cell.dropped = true;
      cell.video.pause();
      cell.video.removeAttribute("src");
      cell.video.load();
    }

    get good() {
      return this.cells.filter((cell) => !cell.bad);
    }

    /** The one that the others follow: the last one, which is a result. */
    get leader() {
      return this.good[this.good.length - 1];
    }

    async ready() {
      await Promise.all(this.cells.map((cell) => cell.loaded));
    }

    /** Whether every video shows the frame that it is to show. */
    get settled() {
      return this.prepared && !this.playing && this.good.every((cell) => !cell.seeks && cell.video.readyState >= 2);
    }

    follow(cell) {
      if (cell.followed) return;
      cell.followed = true;
      const seen = (now, { mediaTime, expectedDisplayTime }) => {
        if (cell.dropped) return;
        cell.seen = { time: mediaTime - cell.origin, at: expectedDisplayTime || now };
        if (this.playing) this.step(cell);
        cell.video.requestVideoFrameCallback(seen);
      };
      cell.video.requestVideoFrameCallback(seen);
    }

    /** A new picture is shown while it plays: tell where it is, and keep the others in step with the leader. */
    step(cell) {
      if (cell === this.leader) {
        const frame = this.frameAt(cell.seen.time);
        if (frame !== this.frame) { this.frame = frame; this.tell(); }
        return;
      }
      const lead = this.leader && this.leader.seen;
      if (!lead) return;
      const now = Math.max(lead.at, cell.seen.at);
      const place = ({ time, at }) => time + ((now - at) / 1000) * this.speed;
      const late = place(lead) - place(cell.seen); // seconds that it is behind the leader
      cell.late = late;
      if (Math.abs(late) > 0.4) {
        this.together();
        return;
      }
      const near = Math.abs(late) < 0.25 * this.length(this.frame);
      const rate = this.speed * (near ? 1 : 1 + Math.max(-0.4, Math.min(0.4, late / 0.12)));
      if (Math.abs(cell.video.playbackRate - rate) > 0.005) cell.video.playbackRate = rate;
    }

    /** All go on from one frame. */
    async together() {
      const serial = (this.serial += 1);
      for (const { video } of this.good) video.pause();
      await this.settle(this.frame);
      if (serial !== this.serial || !this.playing) return;
      for (const cell of this.good) {
        cell.seen = null;
        cell.video.playbackRate = this.speed;
      }
      const started = this.good.map(({ video }) => video.play());
      try {
        await Promise.all(started);
      } catch {
        if (serial === this.serial) this.pause();
      }
      if (serial === this.serial && this.playing && !("requestVideoFrameCallback" in HTMLVideoElement.prototype)) this.poll(serial);
    }

    /** Where the browser does not tell of each picture: look sixty times a second. */
    poll(serial) {
      if (serial !== this.serial || !this.playing) return;
      const at = performance.now();
      const order = [...this.good].reverse(); // the leader first
      for (const cell of order) {
        cell.seen = { time: cell.video.currentTime, at };
        this.step(cell);
      }
      requestAnimationFrame(() => this.poll(serial));
    }

    /** All have a frame, and enough to go on from there. */
    async settle(frame) {
      while (this.good.some((cell) => cell.seeks)) await rest(LOOK); // they see that it plays
      await Promise.all(this.good.map((cell) => new Promise((resolve) => {
        const { video } = cell;
        const look = () => {
          if (video.seeking || video.readyState < 3) return;
          video.removeEventListener("seeked", look);
          video.removeEventListener("canplay", look);
          resolve();
        };
        video.addEventListener("seeked", look);
        video.addEventListener("canplay", look);
        setTimeout(() => { video.removeEventListener("seeked", look); video.removeEventListener("canplay", look); resolve(); }, 3000);
        video.currentTime = this.within(cell, frame, TRIES[0]);
        look();
      })));
    }

    seek(frame) {
      this.frame = Math.max(0, Math.min(this.frames - 1, frame));
      this.tell();
      if (this.playing) this.together();
      else this.good.forEach((cell) => this.stand(cell));
    }

    /** Have a video show the frame that the player is at, whichever that is by then. */
    async stand(cell) {
      if (cell.seeks) return;
      cell.seeks = true;
      await cell.loaded;
      for (let frame = null; frame !== this.frame && !this.gone(cell);) {
        frame = this.frame;
        await this.bring(cell, frame);
      }
      cell.seeks = false;
    }

    /** Whether a video need not show a frame any more. */
    gone(cell, frame = this.frame) {
      return this.playing || cell.dropped || Boolean(cell.bad) || frame !== this.frame;
    }

    /** Show a frame. Browsers still show the frame before where the file says that it lasts longer than it does, which files
        with uneven times do. So seek nearer to the end; and then play into the frame: a video that plays goes by times alone. */
    async bring(cell, frame) {
      const { seekable } = cell.video;
      if (!seekable.length || seekable.end(seekable.length - 1) === 0) {
        $("figcaption", cell.box).textContent = `${cell.view.name}: it only plays from its beginning here, as this server sends no parts of files`;
        return;
      }
      for (const part of TRIES) {
        const time = this.within(cell, frame, part);
        if (Math.abs(cell.video.currentTime - time) > 1e-5) cell.seen = null; // else nothing new is told
        cell.video.currentTime = time;
        if (await this.shows(cell, frame)) return;
      }
      for (let n = 0; n < 3 && this.times.length; n += 1) if (await this.creep(cell, frame)) return;
    }

    /** Play into a frame from its beginning, as slowly as browsers do. False if that has led to another one. */
    async creep(cell, frame) {
      const { video } = cell;
      video.currentTime = this.within(cell, frame, 0.05);
      video.muted = true;
      video.playbackRate = SLOWEST;
      video.play().catch(() => {}); // it is paused before it has begun
      cell.seen = null;
      await this.shows(cell, frame, this.length(frame) / SLOWEST);
      video.pause();
      video.playbackRate = this.speed;
      this.quiet();
      return this.shows(cell, frame);
    }

    /** Wait until the browser tells that a video shows a frame, or it need not any more. False if it shows another one:
        what it tells for some time (seconds) may be of the seek before. */
    async shows(cell, frame, patience = 0.1) {
      const { video } = cell;
      let told = Infinity;
      let until = Infinity;
      while (performance.now() < until) {
        await rest(LOOK);
        if (this.gone(cell, frame) || !video.requestVideoFrameCallback) return true;
        if (video.seeking) continue;
        if (cell.seen && this.frameAt(cell.seen.time) === frame) return true;
        if (cell.seen) told = Math.min(told, performance.now());
        until = Math.min(until, told + 1000 * patience, performance.now() + SILENCE);
      }
      return false;
    }

    /** A time in a frame, away from its beginning and its end, so that no rounding leads to its neighbour. */
    within(cell, frame, part) {
      const { duration } = cell.video;
      if (frame === this.frames - 1 && part === TRIES[1] && Number.isFinite(duration)) return duration; // it has no next one
      return cell.origin + this.at(frame) + part * this.length(frame);
    }

    by(frames) {
      this.pause();
      this.seek(this.frame + frames);
    }

    async play() {
      await this.ready();
      if (!this.good.length) return;
      if (this.frame >= this.frames - 1) this.frame = 0;
      this.playing = true;
      this.tell();
      await this.together();
    }

    pause() {
      if (!this.playing) return;
      this.playing = false;
      this.serial += 1;
      for (const { video } of this.good) video.pause();
      this.seek(this.frame);
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    over() {
      if (!this.playing) return;
      if (this.loop) {
        this.frame = 0;
        this.together();
      } else {
        this.frame = this.frames - 1;
        this.pause();
      }
      this.tell();
    }

    setSpeed(speed) {
      this.speed = speed;
      for (const { video } of this.good) video.playbackRate = speed;
      this.tell();
    }

    quiet() {
      for (const cell of this.good) cell.video.muted = !(this.sound && cell === this.leader);
    }

    setSound(sound) {
      this.sound = sound;
      this.quiet();
      this.tell();
    }

    clear() {
      this.pause();
      this.cells.forEach((cell) => this.drop(cell));
      this.cells = [];
      this.frame = 0;
      this.stage.replaceChildren();
    }
  }

  /** Why a video does not play, and what to do. */
  function unplayable(view) {
    const type = UNPLAYABLE[view.codec];
    if (NEVER.has(view.codec) || (type && !document.createElement("video").canPlayType(type))) {
      return `This browser does not play ${view.codec.toUpperCase()} video. Look at the other videos of this clip, or open the file in a player.`;
    }
    if (view.what === "input") {
      return "The input does not play from here: it was moved or deleted, lies where this page does not reach it, or is in a form that this browser does not play.";
    }
    return "This file is not there, or does not play here: it was moved or deleted. The other videos of this clip are not concerned.";
  }

  /** Times of uneven frames, by the address of their script. */
  const uneven = new Map();

  function timesOf(job) {
    if (!job.uneven) return Promise.resolve([]);
    if (!uneven.has(job.uneven)) {
      const name = job.uneven.split("/").pop().replace(/\.js$/, "");
      uneven.set(job.uneven, new Promise((resolve) => {
        waitingTimes.set(name, resolve);
        script(job.uneven, () => resolve([]), () => resolve([])); // once it has run, it has told them, if it is whole
      }));
    }
    return uneven.get(job.uneven);
  }

  const waitingTimes = new Map();

  function script(address, failed = () => {}, run = () => {}) {
    const element = h("script", { src: address });
    element.onload = () => { element.remove(); run(); };
    element.onerror = () => { element.remove(); failed(); };
    document.head.append(element);
  }

  // -- the viewer: one clip, over everything

  const viewer = {
    clip: null,
    look: "",
    wiping: false,
    at: 50,
    pair: null,
    chosen: null, // ids of the views that are shown, once somebody chose

    build() {
      const dialog = h("dialog", { id: "viewer", "aria-labelledby": "viewed" });
      const stage = h("div", { class: "stage" });
      this.player = new Player(stage, () => this.told());
      const act = (label, name, key, run, more = {}) => button(label, name, run, { title: `${label} (${key})`, ...more });
      this.scrub = h("input", { type: "range", class: "scrub", min: "0", value: "0", step: "1", "aria-label": "Frame",
        oninput: (event) => { this.player.pause(); this.player.seek(Number(event.target.value)); } });
      this.where = h("output", { class: "where" });
      this.playButton = act("Play", "play", "space", () => this.player.toggle(), { class: "play" });
      this.loopButton = act("Loop", "loop", "L", () => this.setLoop(), { "aria-pressed": "true" });
      this.soundButton = act("Sound", "mute", "S", () => this.player.setSound(!this.player.sound), { "aria-pressed": "false" });
      this.wipeButton = act("Wipe between two", "wipe", "W", () => this.setWipe(!this.wiping), { "aria-pressed": "false" });
      this.speedBox = h("select", { "aria-label": "Speed", title: "Speed (H: half)",
        onchange: (event) => this.player.setSpeed(Number(event.target.value)) },
      [[1, "1×"], [0.5, "½×"], [0.25, "¼×"]].map(([value, text]) => h("option", { value: String(value) }, text)));
      this.edge = h("input", { type: "range", class: "edge", min: "0", max: "100", value: "50", "aria-label": "Place of the wipe",
        oninput: (event) => this.setEdge(Number(event.target.value)) });
      this.line = h("div", { class: "divider", "aria-hidden": "true" });
      this.frameBox = h("div", { class: "frame", tabindex: "-1", autofocus: "" }, stage, this.line);
      this.frameBox.addEventListener("pointerdown", (event) => this.drag(event));
      new ResizeObserver(() => { if (this.clip) this.arrange(); }).observe(this.frameBox);
      this.viewsBox = h("div", { class: "views", role: "group", "aria-label": "Videos" });
      this.evenly = h("p", { class: "quiet evenly", role: "status", hidden: true },
        "The times of its uneven frames are not known here: frames are shown as if they were even.");
      this.title = h("h2", { id: "viewed" });
      this.place = h("span", { class: "quiet place" });
      this.looksBox = h("div", { class: "lookbar", role: "group", "aria-label": "Look" });
      this.judge = h("section", { class: "judge", "aria-label": "Your mark" });
      this.facts = h("div", { class: "facts" });
      dialog.append(
        h("div", { class: "head" },
          act("Previous clip", "left", "K", () => this.turn(-1)), act("Next clip", "right", "J", () => this.turn(1)),
          this.title, this.place,
          act("Close", "close", "Esc", () => dialog.close(), { class: "shut" })),
        h("div", { class: "body" },
          h("div", { class: "watch" }, this.viewsBox, this.frameBox, this.edge, this.evenly,
            h("div", { class: "bar", role: "group", "aria-label": "Player" },
              act("One frame back", "back", "left arrow", () => this.player.by(-1)), this.playButton,
              act("One frame on", "forth", "right arrow", () => this.player.by(1)),
              this.scrub, this.where, this.speedBox, this.loopButton, this.soundButton, this.wipeButton)),
          h("aside", {}, this.looksBox, this.judge, this.facts)));
      dialog.addEventListener("close", () => this.closed());
      dialog.addEventListener("keydown", (event) => this.key(event));
      this.dialog = dialog;
      return dialog;
    },

    get job() {
      return this.clip.jobs.find((job) => job.look === this.look) || this.clip.jobs[0];
    },

    open(clip) {
      const same = this.clip && this.clip.path === clip.path;
      this.clip = clip;
      if (!same) {
        this.look = face(clip).look;
        this.chosen = null;
        compared = "";
        this.pair = null;
        this.player.clear();
      }
      if (!this.dialog.open) this.dialog.showModal();
      this.draw();
      this.load();
      remember();
    },

    closed() {
      const path = this.clip.path;
      this.player.clear();
      this.clip = null;
      remember();
      const shell = shells.get(path);
      if (shell && shell.isConnected) {
        shell.scrollIntoView({ block: "nearest" });
        fill(shell);
        if (shell.firstChild) shell.firstChild.focus({ preventScroll: true });
      }
    },

    /** Every video of the clip: the input, then each look's controls and result. */
    views() {
      const found = [];
      const several = this.clip.jobs.length > 1;
      for (const job of this.clip.jobs) {
        const input = { what: "input", at: job.at, codec: job.codec };
        const made = (resultOf(job) || {}).views || [];
        for (const view of done(job) && made.length ? made : [input, ...made]) {
          if (view.what === "input") {
            if (!found.length) found.push({ ...view, id: "input", name: "Input", look: "" });
            continue;
          }
          const kind = view.what === "result" ? (resultOf(job).kind === "preview" ? "preview" : "result") : view.what;
          const what = capital(job.earlier ? `earlier ${kind}` : kind);
          const name = !several ? what : done(job) && view.what === "result" ? lookName(job) : `${what}, ${lookName(job)}`;
          found.push({ ...view, id: `${job.look} ${view.what}`, name, look: job.look });
        }
      }
      return found;
    },

    /** The views that are shown: those that somebody chose, or the input and this look's. */
    present() {
      const all = this.views();
      if (this.wiping) return this.pairOf(all);
      if (this.chosen) return all.filter((view) => this.chosen.has(view.id));
      return all.filter((view) => view.id === "input" || view.look === this.look);
    },

    pairOf(all) {
      const pick = (id) => all.find((view) => view.id === id);
      const [first, second] = this.pair || [];
      const last = pick(`${this.look} result`) || all[all.length - 1];
      const a = pick(first) || all[0];
      const b = pick(second) || last;
      return a === b ? [a] : [a, b];
    },

    async load() {
      const { job } = this;
      const about = { rate: job.rate, frames: job.frames, constant: job.constant, ...resultOf(job) };
      const times = await timesOf(about);
      if (!this.clip || this.job !== job) return;
      this.evenly.hidden = about.constant !== false || times.length > 0;
      const [top, bottom] = String(about.rate || "25/1").split("/").map(Number);
      const seconds = times.map((time) => time / 1e6);
      this.player.clock(seconds, about.frames, top / (bottom || 1));
      this.scrub.max = String(this.player.frames - 1);
      this.player.show(this.present());
      this.arrange();
    },

    /** Show another look of the clip; the focus stays at its button. */
    showLook(look) {
      const box = [this.looksBox, this.facts].find((one) => one.contains(document.activeElement));
      this.look = look;
      this.chosen = null;
      this.draw();
      this.load();
      const again = box && box.querySelector(".chip[aria-pressed='true']");
      if (again) again.focus({ preventScroll: true });
    },

    /** Everything but the videos. */
    draw() {
      const { clip, job } = this;
      this.title.replaceChildren(h("bdi", {}, clip.name));
      this.title.title = clip.clip;
      const place = shown.findIndex((one) => one.path === clip.path);
      this.place.textContent = [clip.folder, place >= 0 ? `${place + 1} of ${shown.length}` : ""].filter(Boolean).join(" · ");
      this.looksBox.replaceChildren(h("h3", {}, "Look"), ...(clip.jobs.length > 1 ? clip.jobs.map((one) => h("button", {
        type: "button", class: `chip ${GROUP_OF[one.state]}`, "aria-pressed": String(one.look === this.look),
        onclick: () => this.showLook(one.look),
      }, markSign(one), lookName(one))) : []));
      this.looksBox.hidden = clip.jobs.length < 2;
      this.drawViews();
      this.drawJudge(job);
      this.facts.replaceChildren(...facts(clip, job));
      this.told();
    },

    drawViews() {
      const all = this.views();
      if (this.wiping && all.length > 1) {
        const [a, b] = this.pairOf(all);
        const box = (label, value, side) => h("label", {}, h("span", { class: "quiet" }, label), h("select", {
          "aria-label": `${label} of the wipe`,
          onchange: (event) => {
            const pair = this.pairOf(all).map((view) => view.id);
            pair[side] = event.target.value;
            this.pair = pair;
            this.changeViews();
          },
        }, all.map((view) => h("option", { value: view.id, selected: view.id === value }, view.name))));
        this.viewsBox.replaceChildren(box("Left", a.id, 0), box("Right", (b || a).id, 1));
        return;
      }
      const present = new Set(this.present().map((view) => view.id));
      this.viewsBox.replaceChildren(...(all.length > 1 ? [h("span", { class: "quiet" }, "Show")] : []), ...all.map((view) => h("button", {
        type: "button", class: "chip", "aria-pressed": String(present.has(view.id)), "data-view": view.id,
        onclick: () => {
          if (present.has(view.id)) { if (present.size > 1) present.delete(view.id); } else present.add(view.id);
          this.chosen = present;
          this.changeViews();
          const again = [...this.viewsBox.children].find((one) => one.dataset.view === view.id);
          if (again) again.focus();
        },
      }, view.name)));
    },

    changeViews() {
      this.drawViews();
      this.player.show(this.present());
      this.arrange();
    },

    arrange() {
      const count = this.player.cells.length;
      const wipe = this.wiping && count === 2;
      const { clientWidth: wide, clientHeight: high } = this.frameBox;
      const aspect = this.job.size ? this.job.size[0] / this.job.size[1] : 16 / 9;
      const width = (columns) => Math.min(wide / columns, (high / Math.ceil(count / columns)) * aspect);
      let columns = 1; // as large as the videos can be
      for (let n = 2; n <= count && !wipe; n += 1) if (width(n) > width(columns) * 1.02) columns = n;
      this.frameBox.classList.toggle("wipe", wipe);
      this.frameBox.style.setProperty("--columns", String(columns));
      this.frameBox.style.setProperty("--aspect", String(aspect));
      this.edge.hidden = !wipe;
      this.line.hidden = !wipe;
      this.wipeButton.setAttribute("aria-pressed", String(this.wiping));
      for (const { box } of this.player.cells) box.style.clipPath = "";
      this.setEdge(this.at);
    },

    setWipe(wiping) {
      this.wiping = wiping;
      this.changeViews();
    },

    setEdge(at) {
      this.at = at;
      this.edge.value = String(at);
      this.frameBox.style.setProperty("--edge", `${at}%`);
      const [, top] = this.player.cells;
      if (this.wiping && top && this.player.cells.length === 2) top.box.style.clipPath = `inset(0 0 0 ${at}%)`;
    },

    drag(event) {
      if (!this.wiping || event.button !== 0) return;
      const move = ({ clientX }) => {
        const box = this.frameBox.getBoundingClientRect();
        this.setEdge(Math.round(1000 * Math.max(0, Math.min(1, (clientX - box.left) / box.width))) / 10);
      };
      const end = () => {
        this.frameBox.removeEventListener("pointermove", move);
        this.frameBox.removeEventListener("pointerup", end);
        this.frameBox.removeEventListener("pointercancel", end);
      };
      this.frameBox.setPointerCapture(event.pointerId);
      this.frameBox.addEventListener("pointermove", move);
      this.frameBox.addEventListener("pointerup", end);
      this.frameBox.addEventListener("pointercancel", end);
      move(event);
    },

    setLoop() {
      this.player.loop = !this.player.loop;
      this.told();
    },

    told() {
      const { player } = this;
      this.scrub.value = String(player.frame);
      const seconds = `${player.at(player.frame).toFixed(3)} s`;
      this.where.replaceChildren(`${player.frame} / ${player.frames - 1}`, h("span", {}, ` · ${seconds}`));
      this.scrub.setAttribute("aria-valuetext", `frame ${player.frame} of ${player.frames}, ${seconds}`);
      const [label, name] = player.playing ? ["Pause", "pause"] : ["Play", "play"];
      if (this.playButton.getAttribute("aria-label") !== label || !this.playButton.drawn) {
        this.playButton.drawn = true;
        this.playButton.setAttribute("aria-label", label);
        this.playButton.replaceChildren(icon(name));
      }
      this.loopButton.setAttribute("aria-pressed", String(player.loop));
      this.soundButton.setAttribute("aria-pressed", String(player.sound));
      this.soundButton.replaceChildren(icon(player.sound ? "sound" : "mute"));
      this.speedBox.value = String(player.speed);
    },

    drawJudge(job) {
      this.judge.hidden = !done(job);
      if (!done(job)) return;
      const { mark, note } = markOf(job);
      const one = (value, text, name, key) => h("button", {
        type: "button", class: `verdict ${value}`, "aria-pressed": String(mark === value), title: `${text} (${key})`,
        onclick: () => this.mark(value),
      }, icon(name), text);
      const area = h("textarea", { rows: "2", placeholder: "Note", "aria-label": "Note", title: "Note (N)",
        onchange: (event) => { setMark(job, { note: event.target.value.trim() }); } });
      area.value = note || "";
      this.judge.replaceChildren(h("div", { class: "verdicts" }, one("accept", "Accept", "check", "A"), one("reject", "Reject", "close", "R")), area);
    },

    mark(value, onward = false) {
      const { job } = this;
      if (!done(job)) return;
      const mark = markOf(job).mark === value && !onward ? null : value;
      setMark(job, { mark });
      said(mark ? `${mark}ed` : "mark removed");
      const within = this.judge.contains(document.activeElement);
      if (onward && this.next()) return;
      this.draw();
      if (within) { const again = $(`.verdict.${value}`, this.judge); if (again) again.focus(); }
    },

    /** The next look, or the next clip, that is done. */
    next() {
      const looks = this.clip.jobs.filter(done);
      const place = looks.indexOf(this.job);
      if (place + 1 < looks.length) {
        this.showLook(looks[place + 1].look);
        return true;
      }
      return this.turn(1);
    },

    turn(way) {
      const place = shown.findIndex((one) => one.path === this.clip.path);
      const next = shown[place + way];
      if (!next) { said(way > 0 ? "This is the last clip." : "This is the first clip."); return false; }
      const playing = this.player.playing;
      this.open(next);
      if (playing) this.player.play();
      return true;
    },

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { target, key } = event;
      if (target.matches("textarea")) {
        if (key === "Escape") { event.preventDefault(); event.stopPropagation(); target.blur(); this.dialog.focus(); }
        return;
      }
      if (target.matches("select")) return;
      if (target === this.edge && /^(Arrow|Home|End|Page)/.test(key)) return;
      const run = {
        " ": () => this.player.toggle(),
        ArrowLeft: () => this.player.by(event.shiftKey ? -10 : -1),
        ArrowRight: () => this.player.by(event.shiftKey ? 10 : 1),
        Home: () => this.player.by(-Infinity),
        End: () => this.player.by(Infinity),
        j: () => this.turn(1),
        k: () => this.turn(-1),
        a: () => this.mark("accept", true),
        r: () => this.mark("reject", true),
        n: () => { const area = $("textarea", this.judge); if (area && !this.judge.hidden) area.focus(); },
        l: () => this.setLoop(),
        s: () => this.player.setSound(!this.player.sound),
        w: () => this.setWipe(!this.wiping),
        h: () => this.player.setSpeed(this.player.speed === 0.5 ? 1 : 0.5),
      }[key.length === 1 ? key.toLowerCase() : key];
      if (!run || (key === " " && target.matches(":is(button, summary, a):focus-visible"))) return;
      event.preventDefault();
      run();
    },

    /** New data have come: show what is new, and leave the videos alone if they are the same. */
    refresh() {
      if (!this.clip) return;
      const now = byPath.get(this.clip.path);
      if (!now) return;
      const videos = () => JSON.stringify([this.views(), (resultOf(this.job) || {}).uneven]);
      const before = videos();
      const stamp = JSON.stringify([this.clip.jobs, this.far]);
      this.clip = now;
      this.far = now.jobs.map((job) => [progress.running[job.job], ahead(job)]);
      if (JSON.stringify([now.jobs, this.far]) === stamp) return;
      const writing = document.activeElement && this.judge.contains(document.activeElement);
      const open = new Set([...this.facts.querySelectorAll("details[open]")].map((one) => one.dataset.name));
      if (!writing) this.draw();
      this.facts.querySelectorAll("details").forEach((one) => { one.open = open.has(one.dataset.name); });
      if (videos() !== before) this.load();
    },
  };

  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  const COLUMNS = 2; // looks whose scores stand side by side; the panel has no room for more
  let compared = ""; // the score by which more looks are compared

  function table(rows, titles = {}) {
    return h("table", {}, h("tbody", {}, rows.map(([name, ...values]) =>
      h("tr", {}, h("th", { scope: "row", title: titles[name] }, name), values.map((value) => h("td", {}, value))))));
  }

  function section(name, ...children) {
    return h("section", {}, h("h3", {}, name), children);
  }

  function fold(name, ...children) {
    return h("details", { "data-name": name }, h("summary", {}, name), children);
  }

  /** One score of many looks, the worst look first. */
  function comparison(looks, job, keys) {
    const body = h("tbody");
    const fill = () => {
      const key = keys.includes(compared) ? compared : keys[0];
      const having = looks.filter((one) => key in one.scores);
      const way = higher(key) ? 1 : -1;
      const ordered = having.sort((a, b) => way * (a.scores[key] - b.scores[key])).concat(looks.filter((one) => !(key in one.scores)));
      const most = Math.max(...having.map((one) => Math.abs(one.scores[key]))) || 1;
      body.replaceChildren(...ordered.map((one) => {
        const value = one.scores[key];
        const bar = h("span");
        bar.style.inlineSize = value === undefined ? "0" : `${(100 * Math.abs(value)) / most}%`;
        return h("tr", {},
          h("th", { scope: "row" }, h("button", {
            type: "button", class: "chip", "aria-pressed": String(one === job), title: lookName(one), onclick: () => viewer.showLook(one.look),
          }, h("bdi", {}, lookName(one)))),
          h("td", { class: "gauge", "aria-hidden": "true" }, bar),
          h("td", {}, value === undefined ? "–" : number(value)));
      }));
    };
    const order = wanted.order.split(" ")[0];
    if (!keys.includes(compared)) compared = keys.includes(order) ? order : keys[0];
    fill();
    const choice = h("select", { "aria-label": "Score to compare the looks by", onchange: (event) => { compared = event.target.value; fill(); } },
      keys.map((key) => h("option", { value: key, selected: key === compared }, scoreName(key))));
    return h("section", { class: "comparison" }, h("h3", {}, "Looks, worst first, by ", choice), h("table", {}, body));
  }

  /** The names of a result's files, and links to them. */
  function files(result) {
    const video = (result.views || []).find((view) => view.what === "result");
    const link = (at, text) => (at ? h("a", { href: at, target: "_blank", rel: "noopener" }, text) : null);
    return h("p", { class: "files quiet" }, h("bdi", {}, `outputs/${result.output}`), link(video && video.at, "Open the video"),
      link(result.manifest, "Open the manifest"), link(result.sheet, "Open the contact sheet"));
  }

  /** What is known of a result that was made before the clip ran again. */
  function earlier(result) {
    const scores = Object.entries(result.scores || {});
    return section("Earlier result", table([["finished", moment(result.ended)], ...scores.map(([key, value]) => [scoreName(key), number(value)])]),
      result.verdict ? h("p", { class: result.passed === false ? "short" : "quiet" }, result.verdict) : null, files(result));
  }

  /** What is known of a job, as sections. */
  function facts(clip, job) {
    const parts = [];
    const group = GROUP_OF[job.state];
    const commands = job.commands || [];
    // The commands are below, to be copied.
    const todo = job.todo && !commands.some(([, text]) => job.todo.includes(text)) ? h("p", {}, job.todo) : null;
    if (group === "running") {
      const { part, stage, left, detail } = howFar(job);
      parts.push(section(capital(job.state), h("progress", { max: "1", value: String(part), "aria-label": "Progress" }),
        h("p", { class: "quiet" }, [`${Math.floor(100 * part)} %`, stage, detail, left].filter(Boolean).join(" · "))));
    } else if (group === "failed") {
      parts.push(h("section", { class: "error" }, h("h3", {}, capital(job.state)), h("p", {}, job.problem || "It is not known why."), todo));
    } else if (group === "waiting") {
      parts.push(section(waiting(job), h("p", { class: "quiet" }, reason(job)), todo));
    } else if (job.problem) {
      parts.push(h("section", { class: "error" }, h("h3", {}, done(job) ? "To be known" : capital(job.state)), h("p", {}, job.problem), todo));
    }
    const result = resultOf(job);
    if (job.earlier) parts.push(earlier(job.earlier));
    if (result && result.input) parts.push(h("p", { class: "quiet" }, result.input));
    if (job.kind === "preview") {
      parts.push(h("p", { class: "quiet" }, "A preview: the control video that the model would get, not a generated one."));
    }
    const keys = scoreKeys().filter((key) => clip.jobs.some((one) => key in (one.scores || {})));
    if (keys.length) {
      const looks = clip.jobs.filter((one) => one.scores);
      const columns = looks.length > COLUMNS ? looks.filter((one) => one === job) : looks;
      const headings = columns.length > 1
        ? h("thead", {}, h("tr", {}, h("td", {}), columns.map((one) =>
          h("th", { scope: "col", title: lookName(one), class: one === job ? "this" : "" }, lookName(one))))) : null;
      const found = table(keys.map((key) => [scoreName(key), ...columns.map((one) =>
        (key in one.scores ? h(one === job && columns.length > 1 ? "strong" : "span", {}, number(one.scores[key])) : "–"))]),
      Object.fromEntries(keys.filter((key) => head.scores[key]).map((key) => [scoreName(key), head.scores[key].words])));
      if (headings) found.prepend(headings);
      if (columns.length) parts.push(section("Scores", h("div", { class: "wide" }, found)));
      if (columns !== looks) parts.push(comparison(looks, job, keys));
    }
    if (job.verdict || job.passed !== undefined) {
      const tries = job.tries || [];
      parts.push(section("Judged", h("p", { class: job.passed === false ? "short" : "" }, job.verdict || (job.passed ? "passed" : "did not pass")),
        tries.length > 1 ? table(tries.map((one) => [`seed ${one.seed}`, [one.passed ? "passed" : "did not pass", one.published ? "published" : ""]
          .filter(Boolean).join(", ")])) : null));
    }
    if (job.times) {
      parts.push(section("Time", table([
        ...(job.waited > 1 ? [["in the queue", spell(job.waited)]] : []),
        ...Object.entries(job.times).filter(([, took]) => took >= 0.05).map(([stage, took]) => [STAGES[stage] || stage, spell(took)]),
        ["in all", spell(job.took)],
      ])));
    }
    const size = job.size ? `${job.size[0]} × ${job.size[1]}` : "";
    const rate = job.rate ? job.rate.split("/").map(Number).reduce((a, b) => a / b) : 0;
    const pace = rate ? `${Number(rate.toFixed(3))} a second${job.constant === false ? ", uneven" : ""}` : "";
    const about = [
      ["frames", job.frames && `${job.frames}${pace ? `, ${pace}` : ""}`], ["size", size], ["length", spell(job.duration)],
      ["look", job.look], ["seed", job.seed !== undefined && (job.json_seed === undefined ? String(job.seed) : `${job.seed} (${job.json_seed} in the JSON)`)],
      ["engine", job.engine], ["GPU", job.gpu], ["GPU time", spell(job.gpu_seconds)],
      ["GPU memory", job.memory && `${(job.memory / 1e9).toFixed(1)} GB`],
      ["attempts", job.attempts > 1 && String(job.attempts)],
      ["finished", job.ended && moment(job.ended)],
      ...Object.entries(job.drawn || {}),
    ].filter(([, value]) => value);
    parts.push(section("Clip", table(about)));
    if (commands.length) {
      parts.push(section("Commands", ...commands.map(([what, text]) => h("div", { class: "command" },
        h("span", { class: "quiet" }, what), h("code", {}, text), copier(() => text, `Copy the command: ${what}`)))));
    }
    if (job.spec) {
      const text = () => JSON.stringify(full(job.spec), null, 2);
      parts.push(fold("JSON as it was run", copier(text, "Copy the JSON"), h("pre", { tabindex: "0" }, text())));
    }
    if (job.output) parts.push(files(job));
    parts.push(fold("Keys", h("dl", { class: "keys" }, [
      ["space", "play, pause"], ["← →", "a frame"], ["shift ← →", "ten frames"], ["A, R", "accept, reject, and go on"],
      ["N", "note"], ["J, K", "next and previous clip"], ["W", "wipe"], ["H", "half speed"], ["L", "loop"], ["S", "sound"],
      ["Esc", "close"],
    ].map(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]))));
    return parts;
  }

  function open(path) {
    const clip = byPath.get(path);
    if (clip) viewer.open(clip);
  }

  // -- data come in

  function fromHash() {
    const hash = new URLSearchParams(location.hash.slice(1));
    for (const key of Object.keys(wanted)) if (hash.has(key)) wanted[key] = hash.get(key);
    return hash.get("clip");
  }

  function setInputs() {
    $("#search").value = wanted.text;
    $("#bound").value = wanted.bound;
  }

  function take(data) {
    if (data.format !== FORMAT) { location.reload(); return; }
    const first = head === null;
    const other = !first && head.folder !== data.folder;
    head = data;
    clips = gather(data);
    byPath = new Map(clips.map((clip) => [clip.path, clip]));
    delete head.jobs;
    if (first || other) loadMarks();
    if (first) {
      const at = fromHash();
      build();
      setInputs();
      changed();
      if (at) open(at);
      performance.mark("povwatch-ready");
    } else {
      changed();
      viewer.refresh();
    }
  }

  function heard(now) {
    const before = JSON.stringify(progress);
    progress = now;
    if (!head) return;
    if (now.revision && now.revision !== head.revision && now.revision !== asked) {
      asked = now.revision;
      script(`index_files/data.js?${now.revision}`, () => { asked = ""; });
    }
    if (JSON.stringify(now) === before) return;
    for (const shell of shells.values()) if (shell.near) fill(shell);
    counted();
    viewer.refresh();
  }

  let asked = "";
  let polls = 0;

  function poll() {
    setTimeout(() => {
      if (!document.hidden) {
        polls += 1;
        script(`index_files/progress.js?${Date.now()}`);
      }
      poll();
    }, progress.stopped ? POLL_STOPPED : POLL);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) script(`index_files/progress.js?${Date.now()}`);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select") && !viewer.clip) {
      event.preventDefault();
      $("#search").focus();
    }
  });
  window.addEventListener("storage", (event) => {
    if (head && event.key === marksKey()) { loadMarks(); list(); }
  });

  window.povwatch = {
    data: take,
    progress: heard,
    times: ({ name, times }) => { const resolve = waitingTimes.get(name); if (resolve) resolve(times); },
    exportMarks,
    viewer,
    // what follows is for whoever drives the page by a script, such as its tests
    find: (name) => clips.find((clip) => clip.clip === name),
    show: (name) => viewer.open(clips.find((clip) => clip.clip === name)),
    names: (shell) => byPath.get(shell.clip).clip,
    choose: (choice) => { Object.assign(wanted, choice); setInputs(); changed(); },
  };
  poll();
})();
