// The page "New run": what is wrong is shown at its field, and what was entered stays as it is.
"use strict";
(() => {
  const form = document.getElementById("new-run");
  const action = form.getAttribute("data-at");
  const checkButton = document.getElementById("check");
  const startButton = document.getElementById("start");
  const startNote = document.getElementById("start-note");
  const summary = document.getElementById("problems");
  const plan = document.getElementById("plan");
  const answerTo = form.querySelector("[data-answer]");
  const fields = new Map([...form.querySelectorAll(".row [name]")].map((field) => [field.name, field]));
  const touched = new Set();
  const mayStart = !checkButton.disabled;
  let asked = 0;

  function entered() {
    return Object.fromEntries([...fields].filter(([, field]) => field.value.trim()).map(([name, field]) => [name, field.value]));
  }

  async function ask(path, body) {
    const answer = await fetch(`${action}/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Image-Classification": "1" },
      body: JSON.stringify(body),
    });
    const found = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(found.detail), { problems: found.problems });
    return found;
  }

  // --- Problems at their fields, and counted on the folds.
  function mark(name, messages) {
    const field = fields.get(name);
    const error = document.getElementById(`error-${name}`);
    if (messages.length) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    const text = messages.join(" ");
    if (error.textContent !== text) error.textContent = text;
  }

  function badge(fold, kind, count, words) {
    const shown = fold.querySelector(kind);
    shown.textContent = `${count} ${words}`;
    shown.classList.toggle("hidden", !count);
  }

  function countFolds() {
    for (const fold of form.querySelectorAll(".fold")) {
      const inside = [...fold.querySelectorAll("[name]")];
      badge(fold, "[data-count]", inside.filter((field) => field.value.trim()).length, "set");
      badge(fold, "[data-wrong]", inside.filter((field) => field.hasAttribute("aria-invalid")).length, "to correct");
    }
  }

  function sentence(problem) {
    const text = problem.value ? `“${problem.value}” ${/^(must|is|are|has|have) /.test(problem.remedy) ? "" : "– "}${problem.remedy}` : problem.remedy;
    return `${text[0].toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
  }

  function showProblems(problems, only) {
    const at = new Map();
    for (const problem of problems) {
      const named = problem.field === problem.at ? sentence(problem) : `${problem.field}: ${sentence(problem)}`;
      if (problem.at) at.set(problem.at, [...(at.get(problem.at) ?? []), named]);
    }
    for (const name of fields.keys()) if (!only || only.has(name) || !at.has(name)) mark(name, at.get(name) ?? []);
    countFolds();
  }

  function goTo(name) {
    const field = fields.get(name);
    field.closest("details").open = true;
    field.closest(".row").classList.remove("hidden");
    field.focus();
    field.scrollIntoView({ block: "center" });
  }

  function listProblems(problems, title) {
    summary.classList.toggle("hidden", !problems.length);
    summary.querySelector("h2").textContent = title;
    const lines = problems.map((problem) => {
      const line = document.createElement("li");
      const named = document.createElement(problem.at ? "a" : "strong");
      named.textContent = problem.field;
      if (problem.at) {
        named.href = `#field-${problem.at}`;
        named.addEventListener("click", (event) => {
          event.preventDefault();
          goTo(problem.at);
        });
      }
      line.append(named, `: ${sentence(problem)}`);
      return line;
    });
    summary.querySelector("ul").replaceChildren(...lines);
  }

  // --- What an empty field stands for: the preset's value, else its default.
  function showPreset(preset) {
    const name = fields.get("preset").value;
    for (const [field, control] of fields) {
      const option = control.querySelector('option[value=""]');
      const unset = (option ?? control).dataset.unset;
      const text = field in preset ? `${preset[field]} (preset ${name})` : unset;
      if (option) option.textContent = text;
      else control.placeholder = text;
    }
  }

  function notChecked() {
    startButton.disabled = true;
    startButton.classList.remove("main");
    checkButton.classList.add("main");
    startNote.classList.remove("hidden");
    plan.classList.add("outdated");
  }

  function grow(area) {
    area.rows = Math.min(12, Math.max(2, area.value.split("\n").length));
  }

  async function changed(event) {
    if (!event.target.name || event.target.id === "find") return;
    touched.add(event.target.name);
    notChecked();
    const mine = ++asked;
    countFolds();
    if (!mayStart) return;
    try {
      const found = await ask("check", { fields: entered() });
      if (mine !== asked) return;
      showPreset(found.preset);
      showProblems(found.problems, touched);
    } catch (error) {
      if (mine === asked) say(String(error.message ?? error));
    }
  }

  async function check(event) {
    event.preventDefault();
    const mine = ++asked;
    checkButton.disabled = true;
    answerTo.replaceChildren(message("", "Checking: AWS is asked, which takes some seconds."));
    try {
      const found = await ask("check", { fields: entered(), ask_aws: true });
      if (mine !== asked) return answerTo.replaceChildren();
      for (const name of fields.keys()) touched.add(name);
      showPreset(found.preset);
      showProblems(found.problems);
      plan.replaceChildren(...new DOMParser().parseFromString(found.plan, "text/html").body.childNodes);
      plan.classList.remove("outdated");
      const count = found.problems.length;
      const said = count ? `${count} ${count === 1 ? "problem" : "problems"}. Nothing was started.` : "No problem was found.";
      listProblems(found.problems, said);
      answerTo.replaceChildren(message(count ? "bad" : "good", said));
      say(said);
      startButton.disabled = count > 0;
      startButton.classList.toggle("main", !count);
      checkButton.classList.toggle("main", count > 0);
      startNote.classList.toggle("hidden", !count);
      if (count) summary.focus();
      else startButton.focus();
    } catch (error) {
      answerTo.replaceChildren(message("bad", String(error.message ?? error)));
      say(String(error.message ?? error));
    } finally {
      checkButton.disabled = false;
    }
  }

  async function start() {
    startButton.disabled = true;
    answerTo.replaceChildren(message("", "Starting."));
    const box = document.getElementById("switch-on");
    try {
      const found = await ask("runs", { fields: entered(), switch_on: box?.checked ? "on" : "" });
      answerTo.replaceChildren(started(found));
      say(`${found.dag_id} is started.`);
      answerTo.querySelector("a").focus();
    } catch (error) {
      answerTo.replaceChildren(message("bad", String(error.message ?? error)));
      if (error.problems) {
        showProblems(error.problems);
        listProblems(error.problems, String(error.message));
        summary.focus();
      }
      say(String(error.message ?? error));
    }
  }

  // --- A field among a hundred.
  function find(event) {
    const words = event.target.value.trim().toLowerCase();
    let count = 0;
    for (const fold of form.querySelectorAll(".fold")) {
      let inside = 0;
      for (const row of fold.querySelectorAll(".row")) {
        const fits = !words || row.textContent.toLowerCase().includes(words);
        row.classList.toggle("hidden", !fits);
        inside += fits;
      }
      fold.classList.toggle("hidden", !inside);
      fold.open = words ? inside > 0 : fold === form.querySelector(".fold");
      count += inside;
    }
    document.getElementById("found").textContent = words ? `${count} ${count === 1 ? "field" : "fields"}` : "";
  }

  for (const area of form.querySelectorAll("textarea")) {
    grow(area);
    area.addEventListener("input", () => grow(area));
  }
  form.addEventListener("change", changed);
  form.addEventListener("submit", check);
  startButton.addEventListener("click", start);
  document.getElementById("find").addEventListener("input", find);
  document.getElementById("find").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  countFolds();
  if (mayStart && Object.keys(entered()).length) changed({ target: fields.get("preset") });
})();
