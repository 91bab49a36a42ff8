// Airflow keeps its theme under `theme`: light, dark or system. This frame has the same origin, so it follows.
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");

function followTheme() {
  let chosen = "system";
  try {
    chosen = localStorage.getItem("theme") || "system";
  } catch {
    // Storage may be switched off: the system's own choice is shown.
  }
  const isDark = chosen === "dark" || (chosen === "system" && dark.matches);
  document.documentElement.classList.toggle("dark", isDark);
}

followTheme();
addEventListener("storage", followTheme);
dark.addEventListener("change", followTheme);
